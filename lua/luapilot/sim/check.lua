-- check: arguments of the port's calls, looked at as closely as the real port does.
--
-- The real one is written in C and raises for a field it does not know; a simulator that let it pass would
-- hide the core's mistakes. Every check raises "call: field: expected …, got …". It owns nothing.

local signals = require "luapilot.base.signals"

local check = {}

---@param where string     "spawn: cwd"
---@param expected string
---@param value any
function check.wrong(where, expected, value)
  error(("%s: expected %s, got %s"):format(where, expected, type(value)), 0)
end

local function of_type(kind, words)
  return function(where, value)
    if type(value) ~= kind then check.wrong(where, words, value) end
    return value
  end
end

check.string = of_type("string", "a string")
check.boolean = of_type("boolean", "a boolean")
check.table = of_type("table", "a table")
check.any_number = of_type("number", "a number")

---A string without NUL bytes.
function check.word(where, value)
  check.string(where, value)
  if value:find("\0", 1, true) then error(where .. ": a NUL byte inside the string", 0) end
  return value
end

---A number from `least` to `most`.
function check.number(least, most)
  return function(where, value)
    check.any_number(where, value)
    if not (value >= least and value <= most) then
      error(("%s: expected a number from %f to %f, got %f"):format(where, least, most, value), 0)
    end
    return value
  end
end

---A length of time, however long.
function check.seconds(where, value)
  check.any_number(where, value)
  if value >= 0 and value < math.huge then return value end
  error(("%s: expected a number of seconds from 0 on, got %f"):format(where, value), 0)
end

---A whole number from `least` to `most`.
function check.integer(least, most)
  local in_range = check.number(least, most)
  return function(where, value)
    in_range(where, value)
    if value % 1 ~= 0 then error(("%s: expected a whole number, got %f"):format(where, value), 0) end
    return value
  end
end

---The name of a signal.
function check.signal(where, value)
  check.word(where, value)
  if not signals.parse(value) and not value:find "^SIGRTMIN%+?%d*$" then
    error(("%s: there is no signal %q"):format(where, value), 0)
  end
  return value
end

---One of some words.
function check.choice(words)
  return function(where, value)
    check.word(where, value)
    for _, word in ipairs(words) do
      if word == value then return value end
    end
    error(("%s: unknown word %q"):format(where, value), 0)
  end
end

---A table of known fields, each with its check.
function check.fields(known)
  return function(where, value)
    check.table(where, value)
    for name, field in pairs(value) do
      if type(name) ~= "string" then
        error(("%s: fields have names, here one is a %s"):format(where, type(name)), 0)
      end
      if not known[name] then error(("%s: unknown field %q"):format(where, name), 0) end
      known[name](where .. ": " .. name, field)
    end
    return value
  end
end

---A map from names to values that `each` checks.
function check.map(each)
  return function(where, value)
    check.table(where, value)
    for name, field in pairs(value) do
      if type(name) ~= "string" then check.wrong(where .. ": a name", "a string", name) end
      each(where .. "." .. name, field)
    end
    return value
  end
end

---A list of words, not empty.
function check.argv(where, value)
  check.table(where, value)
  if #value == 0 then error(where .. ": it is empty", 0) end
  for i, word in ipairs(value) do check.word(("%s[%d]"):format(where, i), word) end
  if value[1] == "" then error(where .. "[1]: it is empty", 0) end
  return value
end

return check
