-- sandbox: what a pilot.lua sees of Lua's own libraries in a box.
--
-- Its clock, its random numbers and its files are the box's: os.time, math.random and io.open would reach
-- past the simulator to the machine that runs the specs. Owns these stand-ins; they are laid over the
-- copies of the libraries that the loader makes.

local sandbox = {}

---Dates for cron: a box lives in UTC.
sandbox.calendar = { date = function(epoch) return os.date("!*t", epoch) end }

local function os_library(port)
  local function now() return math.floor(port.clock:wall()) end
  local library = {}

  function library.time(fields) return fields and os.time(fields) or now() end
  function library.clock() return 0 end
  function library.getenv(name) return port.environ[name] end

  function library.date(format, time)
    format = format or "%c"
    if format:sub(1, 1) ~= "!" then format = "!" .. format end
    return os.date(format, time or now())
  end

  function library.remove(path)
    local ok, message = port.files:remove(path)
    return ok, message
  end

  function library.rename(from, to)
    local ok, message = port.files:rename(from, to)
    return ok, message
  end

  return library
end

local function math_library(port)
  local library = {}

  function library.randomseed() end

  function library.random(low, high)
    local number = port.random:next()
    if not low then return number end
    if not high then low, high = 1, low end
    return low + math.floor(number * (high - low + 1))
  end

  return library
end

-- Only whole files: a handle would need the half of io to be written anew.
local function io_library()
  local library = {}
  for _, name in ipairs { "open", "lines", "input", "output" } do
    library[name] = function()
      error(("io.%s reaches past the simulator: use pilot.fs.read and pilot.fs.write"):format(name), 2)
    end
  end
  return library
end

---@param port luapilot.sim.Port
---@return table<string, table<string, function>>
function sandbox.libraries(port)
  return { os = os_library(port), math = math_library(port), io = io_library() }
end

return sandbox
