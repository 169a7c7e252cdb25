-- What the log of a program tells, for the integration specs: which thing came before which other.
--
--   story.assert_order(p, { "first", "then this", "and then that" })      -- Lua patterns, each of one line
--   local port = story.free_port()
--   if story.can("test", "-e", p:path "loading") then …

local assert = require "luassert"
local run    = require "support.run"

local story = {}

--- For a pilot.lua: tell(job, …) prints a line for all that happens to these jobs.
story.TELL = [[
  local function tell(...)
    for _, job in ipairs { ... } do
      for _, name in ipairs { "healthy", "unhealthy", "exit_success", "exit_failed", "stopping", "stopped" } do
        job:on(name, function(event)
          print(("%s %s code=%s reason=%s signal=%s;"):format(job.name, name, event.code, event.reason, event.signal))
        end)
      end
    end
  end
]]

--- For a pilot.lua: tell(value, …) prints them in a line that begins with "> ".
story.TELL_VALUES = [[
local function tell(...)
  local words = {}
  for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
  print("> " .. table.concat(words, " "))
end
]]

--- The option that lets a pilot.lua say pilot.env "PWD" for its own directory.
story.PWD = { "sh", "-c", 'exec env PWD="$(pwd)" "$0" "$@"' }

local function all(program)
  return table.concat(program:lines "", "\n")
end

--- Each pattern matches a line after the line of the one before it.
---@param program spec.Program
---@param patterns string[]
function story.assert_order(program, patterns)
  local lines, at = program:lines "", 0
  for i, pattern in ipairs(patterns) do
    local found
    for number = at + 1, #lines do
      if lines[number]:find(pattern) then
        found = number
        break
      end
    end
    assert.message(("no line matches %q after %q in\n%s"):format(pattern, patterns[i - 1] or "the start",
      all(program))).is_not_nil(found)
    at = found
  end
end

--- So many lines match.
---@param program spec.Program
---@param times integer
---@param pattern string
function story.assert_lines(program, times, pattern)
  local what = ("lines that match %q in\n%s"):format(pattern, all(program))
  assert.message(what).equal(times, #program:lines(pattern))
end

--- The pilot's end: its exit code.
---@param program spec.Program
---@param code integer
function story.assert_ends(program, code)
  local got = program:wait()
  assert.message("the exit code after\n" .. all(program)).equal(code, got)
end

--- Whether a command succeeds here.
function story.can(...)
  return run.program({ ... }):wait() == 0
end

--- A TCP port that nobody listens on now.
---@return integer
function story.free_port()
  local p = run.program({ "bash", "-c", [[
    for try in {1..200}; do
      port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
      (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo $port; exit; }
    done
    exit 1
  ]] })
  assert.equal(0, p:wait())
  return tonumber(p:stdout())
end

return story
