-- stdio: io.stdout and io.stderr of a pilot.lua, and what of io means them: io.write, io.output, io.close …
--
-- What is written there goes where print goes, into the log, line by line; a line that has no end yet waits for it, and
-- comes at the end of the pilot as it is. The real descriptors are luapilot's: a reader that stalls would stop the
-- pilot, and what comes in pieces would be torn apart by the lines of jobs.
--
-- It owns what waits for the end of its line: 64 KiB of a stream at most, and as much as the longest secret has, since
-- none is cut in two. Files are io's own, and none of it.

local lazy = require "luapilot.base.lazy"

local utf8 = lazy.require "luapilot.base.utf8"

local stdio = {}

local LONGEST = 64 * 1024 -- bytes of a line: of a longer one there are parts

local LEVELS = { stdout = "info", stderr = "warn" }

---@class luapilot.StandardStream     what stands behind the object that the user has
---@field log fun(level: string, message: string)
---@field masks fun(): luapilot.Masks?
---@field name "stdout"|"stderr"
---@field held string[]      of a line that has no end yet
---@field size integer       bytes of it

local states = setmetatable({}, { __mode = "k" }) -- by object

-- A part of a line that is longer, and where the next one begins: as job/output.lua cuts those of jobs.
local function part_of(masks, line, from)
  local to = utf8.whole(line, from, from + LONGEST - 1)
  if not masks then return line:sub(from, to), to + 1 end
  local part, next = masks:cover_first(line:sub(from, to + masks.longest), to - from + 1)
  return part, from + next - 1
end

-- Says parts of what is held as long as it is longer than `room`, and keeps the rest.
local function say_parts(state, masks, room)
  local line, from = table.concat(state.held), 1
  while #line - from + 1 > room do
    local part
    part, from = part_of(masks, line, from)
    state.log(LEVELS[state.name], part)
  end
  line = line:sub(from)
  state.held, state.size = { line }, #line
end

-- The end of a line.
local function say(state)
  if state.size > LONGEST then say_parts(state, state.masks(), LONGEST) end
  local line = table.concat(state.held)
  state.held, state.size = {}, 0
  state.log(LEVELS[state.name], line)
end

local function hold(state, text)
  state.held[#state.held + 1], state.size = text, state.size + #text
  if state.size <= LONGEST then return end
  local masks = state.masks()
  local room = LONGEST + (masks and masks.longest or 0)
  if state.size > room then say_parts(state, masks, room) end
end

local function take(state, text)
  local from = 1
  while true do
    local newline = text:find("\n", from, true)
    hold(state, text:sub(from, (newline or 0) - 1))
    if not newline then return end
    say(state)
    from = newline + 1
  end
end

local methods = {}

function methods:write(...)
  for i = 1, select("#", ...) do
    local value = (select(i, ...))
    if type(value) ~= "string" and type(value) ~= "number" then
      error(("bad argument #%d to 'write' (string expected, got %s)"):format(i, type(value)), 2)
    end
    take(states[self], tostring(value))
  end
  return true
end

-- Lines come out by themselves, and the rest at the end.
function methods.flush() return true end
function methods.setvbuf() return true end
function methods.close() return nil, "cannot close standard file" end
function methods.seek() return nil, "Illegal seek", 29 end
function methods.read() return nil, "Bad file descriptor", 9 end
function methods.lines() error("Bad file descriptor", 2) end

local function new_stream(name, streams)
  local stream = setmetatable({}, {
    __index = methods, __newindex = function() end, __metatable = false,
    __tostring = function() return ("file (%s)"):format(name) end,
  })
  states[stream] = { name = name, log = streams.log, masks = streams.masks, held = {}, size = 0 }
  return stream
end

-- The functions of io that mean the default output.
local function functions(default)
  local own = {}

  function own.output(file)
    if type(file) == "string" then
      local opened, message = io.open(file, "w")
      if not opened then error(message, 2) end
      file = opened
    end
    default = file or default
    return default
  end

  function own.write(...) return default:write(...) end
  function own.flush() return default:flush() end
  function own.close(file) return (file or default):close() end
  function own.type(value) return states[value] and "file" or io.type(value) end
  return own
end

---Puts the streams and these functions into a library table, beside what is there.
---@param library table
---@param streams { log: fun(level: string, message: string), masks: (fun(): luapilot.Masks?), rest: fun()? }
---     masks: of the texts that lines do not show; rest: says what still waits, at the end
function stdio.lay(library, streams)
  local out, err = new_stream("stdout", streams), new_stream("stderr", streams)
  local own = functions(out)
  own.stdout, own.stderr = out, err
  for name, value in pairs(own) do
    if rawget(library, name) == nil then rawset(library, name, value) end
  end
  function streams.rest()
    for _, stream in ipairs { out, err } do
      local state = states[stream]
      if state.size > 0 then say(state) end
    end
  end
end

return stdio
