-- load: what `luapilot check` must do with any file: load it, or tell each mistake with its place. For load.c.
--
-- The path is the program's: cli, loader, strict, schema, API, on the real runtime. What the machine sees of it is
-- looked at here: a load reads, and asks the time; everything else of the port is an error. A script of random words
-- must not find the fuzzer's files either.

package.path = "lua/?.lua;lua/?/init.lua;" .. package.path

local app = require "luapilot.pilot.app"
local cli = require "luapilot.cli"
local json = require "cjson"
local rt = require "luapilot.rt"

-- The core has loaded what it needs; ffi in a script may do anything.
local real = require
function _G.require(name) -- luacheck: ignore
  if name == "ffi" then error("there is no ffi here", 0) end
  return real(name)
end

local PATIENCE = 0.05 -- seconds; the program has one

local FILES = {
  ["other.lua"] = 'local pilot = require "luapilot"\nreturn { job = pilot.job "other" { exec = "true" } }\n',
  ["broken.lua"] = "return {\n",
  ["app.env"] = "NAME=value\nexport QUOTED=\"a b\"\n# comment\n",
  ["app.tmpl"] = "<% for i = 1, 3 do %>\n<%= i %>\n<% end %>\n",
}

local ENVIRON = { PATH = "/usr/bin:/bin", NAME = "value", LUAPILOT_MEMORY = "64M" }

local PASSED = { "now", "clock", "random", "lookup", "pid", "stat", "addresses", "hostname", "user" }

local said -- what the core itself logged

local port = {
  environ = function() return ENVIRON end,
  cwd = function() return "/" end,
  log = function(level, message) said[#said + 1] = level .. ": " .. message end,
  logging = function() return true end,
  contain = function(options)
    options.seconds = PATIENCE
    return rt.contain(options)
  end,
}
for _, name in ipairs(PASSED) do port[name] = rt[name] end

-- Relative paths of the input are those of the root.
local function text_of(path) return FILES[path:match "^/?(.*)$"] end

function port.read(path)
  local text = text_of(path)
  if text then return text end
  return nil, "no such file or directory", "ENOENT"
end

-- What the user reads (pilot.fs), and what `check` looks for.
local opened = {}

function port.open(path, mode)
  local text = text_of(path)
  if not text or mode ~= "read" then return nil, "no such file or directory", "ENOENT" end
  opened[#opened + 1] = text
  return #opened, { type = "file", size = #text, mode = 420 }
end

function port.get(id)
  local text = opened[id]
  opened[id] = ""
  return text
end

function port.cancel() return true end
function port.logging() return true end
function port.request() return nil, "libcurl is not installed", "ENOSYS" end
function port.list() return nil, "no such file or directory", "ENOENT" end

setmetatable(port, { __index = function(_, name)
  return function() error("loading called port." .. tostring(name), 0) end
end })

-- --- what a script may not reach here -----------------------------------------------------------

local function nothing() return nil, "not here" end

local LIBRARIES = {
  io = { open = nothing, lines = nothing, input = nothing, output = nothing, tmpfile = nothing, read = nothing,
    write = nothing, close = nothing, stdin = false, stdout = false, stderr = false },
  os = { remove = nothing, rename = nothing, tmpname = nothing, getenv = nothing, setlocale = nothing },
  -- With these a script changes the core, if it wants to.
  debug = { setlocal = nothing, setupvalue = nothing, upvaluejoin = nothing, setmetatable = nothing,
    setfenv = nothing, getupvalue = nothing, getlocal = nothing },
}

local pilot -- the latest

local new = app.new
function app.new(options)
  options.libraries = LIBRARIES
  pilot = new(options)
  return pilot
end

-- --- the oracle ---------------------------------------------------------------------------------

-- About the file as a whole, or with its line in the text.
local WHOLE = { "declares nothing", "contains NUL bytes", "contains binary data", "is compiled bytecode",
  "is UTF%-16 text", "is larger than", "has %d+ bytes: it is larger", "there is no such file" }

local function is_whole(mistake)
  for _, pattern in ipairs(WHOLE) do
    if mistake.message:find("^" .. pattern) then return true end
  end
  return false
end

-- Words of the core's own that no user should see.
local INNER = { "lua/luapilot/[%w_/]+%.lua:%d+", "stack traceback", "inside luapilot", "loading called port" }

local function inner(text)
  for _, pattern in ipairs(INNER) do
    if text:find(pattern) then return "an inner word: " .. text end
  end
end

local function judge_mistake(mistake)
  if not is_whole(mistake) and not (mistake.where or ""):find "^[^\n]+:%d+$" then
    return "a mistake without its line: " .. tostring(mistake.where) .. ": " .. tostring(mistake.message)
  end
  if type(mistake.message) ~= "string" or not mistake.message:find "%S" then return "a mistake that says nothing" end
  return inner(mistake.message)
end

local function judge_all(list)
  for _, mistake in ipairs(list) do
    local problem = judge_mistake(mistake)
    if problem then return problem end
  end
end

-- Warnings are told first, and counted where there are no mistakes.
local function judge(code, out, err)
  local list, warned = pilot.mistakes:list(), #pilot.mistakes:warnings()
  local problem = judge_all(list) or judge_all(pilot.mistakes:warnings())
  if problem then return problem end
  local summary = "pilot.lua: no mistakes" .. (warned == 0 and "" or warned == 1 and ", 1 warning"
    or (", %d warnings"):format(warned)) .. "\n"
  if code == 0 and #list == 0 and out:sub(1, #summary) == summary then return nil end
  local count = ("pilot.lua: %d mistake%s"):format(#list, #list == 1 and "" or "s")
  local last = err:match "([^\n]*)\n$"
  local more = last and last:sub(1, #count) == count and last:sub(#count + 1)
  local counted = more and (more == "" or more:find "^; .+ ended the file: what follows was not checked$")
  if code == 2 and #list > 0 and out == "" and counted then return nil end
  return ("exit code %s with %d mistakes\n%s%s"):format(tostring(code), #list, out, err)
end

local function checked(...)
  local out, err = {}, {}
  opened = {}
  local code = cli.main({ "check", ... }, {
    out = function(text) out[#out + 1] = text end, err = function(text) err[#err + 1] = text end,
    flush = function() return true end, port = function() return port end, version = function() return "0" end,
  })
  return code, table.concat(out), table.concat(err)
end

-- The same in JSON: one object, whatever is in the names and messages.
local function judge_json(code)
  local as_json, out, err = checked("--format", "json", "pilot.lua")
  local ok, value = pcall(json.decode, out)
  if ok and as_json == code and err == "" and value.ok == (code == 0) then return nil end
  return ("in JSON: exit code %s\n%s%s"):format(tostring(as_json), out, err)
end

local SHORT = 2000 -- bytes of a source that is checked twice

---@param source string
---@return string? problem
return function(source)
  said = {}
  FILES["pilot.lua"] = source
  local code, out, err = checked "pilot.lua"
  local problem = judge(code, out, err)
  if not problem and #source < SHORT then problem = judge_json(code) end
  for _, line in ipairs(said) do problem = problem or inner(line) end
  pilot = nil
  return problem
end
