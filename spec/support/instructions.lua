-- What something costs, in a number that is the same on every machine: instructions of the Lua VM.

---Instructions that fn() takes, those of this call included. C functions are one each, whatever they do.
---@param fn fun()
---@return integer
return function(fn)
  local count = 0
  local hook, mask, every = debug.gethook()
  debug.sethook(function() count = count + 1 end, "", 1)
  local ok, err = pcall(fn)
  debug.sethook(hook, mask, every)
  if not ok then error(err, 0) end
  return count
end
