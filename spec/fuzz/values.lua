-- values: what users and other programs write as one string (durations, cron, URLs, env files, JSON, …), any bytes of
-- it. For core.c. The first byte of an input says which reader gets the rest. A reader never raises: it gives a
-- value that means the same when it is written and read again, or it says what is wrong.

package.path = "lua/?.lua;lua/?/init.lua;" .. package.path

local address = require "luapilot.base.address"
local argv = require "luapilot.schema.argv"
local base64 = require "luapilot.base.base64"
local cron = require "luapilot.base.cron"
local duration = require "luapilot.base.duration"
local env_file = require "luapilot.job.env_file"
local json = require "luapilot.base.json"
local lexer = require "luapilot.base.lexer"
local schema = require "luapilot.schema.schema"
local signals = require "luapilot.base.signals"
local size = require "luapilot.base.size"
local syntax = require "luapilot.base.syntax"
local template = require "luapilot.file.template"
local process_schema = require "luapilot.schema.process"
local url = require "luapilot.base.url"
local shellwords = require "luapilot.base.shellwords"

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- A value, or a message for people.
local function read(parse, ...)
  local value, message = parse(...)
  if value ~= nil then return value end
  assert(type(message) == "string" and message:find "%S", "neither a value nor a message")
end

local function in_bounds(number, least)
  assert(type(number) == "number" and number >= least and number < math.huge, "no number: " .. tostring(number))
end

local readers = {}

function readers.a(text)
  local seconds = read(duration.parse, text)
  if not seconds then return end
  in_bounds(seconds, 0)
  local shown = duration.format(seconds)
  if seconds < 0.0005 then return end
  -- Six digits of the seconds are shown, and no less than a millisecond.
  local again = assert(duration.parse(shown), "cannot be read again: " .. shown)
  assert(math.abs(again - seconds) <= 0.0006 + seconds * 1e-9, shown .. " is another duration than " .. text)
end

function readers.b(text)
  local bytes = read(size.parse, text)
  if not bytes then return end
  in_bounds(bytes, 0)
  assert(bytes % 1 == 0, "no whole number")
  size.format(bytes)
end

function readers.c(text)
  local schedule = read(cron.parse, text)
  if not schedule then return end
  local utc = { date = function(epoch) return os.date("!*t", epoch) end, time = function(t)
    t.isdst = false
    return os.time(t)
  end }
  local epoch = 1700000000
  for _ = 1, 2 do
    local next = cron.next(schedule, epoch, utc)
    assert(next and next > epoch, "no next time")
    epoch = next
  end
end

function readers.d(text)
  local parts = read(url.parse, text)
  if not parts then return end
  local again = assert(url.parse(url.format(parts)))
  assert(same(parts, again), "another URL: " .. url.format(parts))
  local hidden = parts.scheme .. "://***@"
  assert(not parts.user or url.shown(parts):sub(1, #hidden) == hidden, "shows the password")
  url.resolve(parts, text)
end

function readers.e(text)
  local list = read(shellwords.split, text)
  if not list then return end
  local again = assert(shellwords.split(shellwords.show(list)))
  assert(same(list, again), "other words: " .. shellwords.show(list))
end

function readers.f(text)
  local variables = read(env_file.parse, text, "app.env")
  for name, value in pairs(variables or {}) do
    assert(name:find "^[%a_][%w_]*$", "a name of no variable")
    assert(not value:find("\0", 1, true), "a NUL in a variable")
  end
end

function readers.g(text)
  local ok, value = pcall(json.decode, text)
  if not ok then return assert(tostring(value):find "json.decode: ", value) end
  local written, again = pcall(json.encode, value)
  if not written then return assert(tostring(again):find "json.encode: ", again) end
  assert(same(json.decode(again), value), "other JSON: " .. again)
end

function readers.h(text)
  for _, parse in ipairs { address.parse, signals.parse, argv.parse, base64.decode } do read(parse, text) end
  assert(base64.decode(base64.encode(text)) == text, "other bytes by base64")
end

function readers.i(text)
  local tokens = lexer.tokens(text)
  local line = 1
  for _, token in ipairs(tokens) do
    assert(token.line >= line and token.column >= 1, "tokens that go back")
    line = token.line
  end
  assert(tokens[#tokens].kind == "eof")
  local chunk, message = loadstring(text, "@pilot.lua")
  if text:sub(1, 1) ~= "\27" and not chunk then
    assert(syntax.explain(message, text):sub(1, #message) == message, "not Lua's own message")
  end
end

local store = template.store(_G)

function readers.j(text)
  local made, message = store:compile(text, "app.tmpl")
  assert(made or message:find "^app%.tmpl:%d+: ", message)
end

function readers.k(text)
  local target = read(schema.first, process_schema.endpoint, text)
  if not target then return end
  assert((target.address == nil) ~= (target.path == nil), "one of address and path")
  assert(not (target.path or target.address):find "%z", "a NUL byte")
  assert(same(target, assert(schema.first(process_schema.endpoint, target.shown))), "another one: " .. target.shown)
end

---@param input string
---@return string? problem
return function(input)
  local reader = readers[input:sub(1, 1)]
  if not reader then return nil end
  local ok, problem = xpcall(reader, debug.traceback, input:sub(2))
  if not ok then return problem end
end
