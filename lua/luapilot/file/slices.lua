-- slices: the bytes of open files, a slice at a time, so that 64 MiB on a slow disk do not hold the loop.
--
-- Who is in a task lends a `pause`, which is called between two slices; without one all is done at once. What is in
-- one slice never pauses. It owns no handle: whoever opened a file closes it, also when a pause raises.

local slices = {}

local SLICE = 1024 * 1024
local LIMIT = 64 * SLICE

---The most that is read or written.
slices.limit = LIMIT

---Is there more than one slice?
---@param bytes number
---@return boolean
function slices.are_many(bytes) return bytes > SLICE end

---All that is in an open file.
---@param port luapilot.Port
---@param id integer          as of port.open
---@param pause fun()?
---@return string? data
---@return string? message
---@return string? code       EFBIG: more than 64 MiB
function slices.read(port, id, pause)
  local parts, size = {}, 0
  repeat
    if parts[1] and pause then pause() end
    local part, message, code = port.get(id, SLICE)
    if not part then return nil, message, code end
    parts[#parts + 1], size = part, size + #part
    if size > LIMIT then return nil, "cannot read: it is larger than 64 MiB", "EFBIG" end
  until #part < SLICE
  return table.concat(parts)
end

---Writes data into an open file. Between two slices they are synced: one sync of it all would take long.
---@param port luapilot.Port
---@param id integer
---@param data string
---@param pause fun()?
---@return true?
---@return string? message
---@return string? code
function slices.write(port, id, data, pause)
  for first = 1, #data, SLICE do
    if first > 1 and pause then
      local ok, message, code = port.sync(id)
      if not ok then return nil, message, code end
      pause()
    end
    local part = #data <= SLICE and data or data:sub(first, first + SLICE - 1)
    local ok, message, code = port.put(id, part)
    if not ok then return nil, message, code end
  end
  return true
end

return slices
