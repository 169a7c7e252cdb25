-- template: text with Lua in it, and what becomes of it with given data. Pure: text in, text out.
--
--   upstream app {
--   <% for _, up in ipairs(upstreams) do %>
--     server <%= up.authority %>;
--   <% end %>
--   }
--
-- A template is made into one Lua function whose lines are the template's lines: so every error, of the syntax
-- and of a run, names the line that its author sees. What is written is never escaped: it is a configuration, not HTML.
--
--   * A line that holds nothing but <% … %> (one or several) leaves no line behind.
--   * nil cannot be written, an unknown variable cannot be read: a hole in a configuration is a mistake.
--   * pairs goes through the keys in order, so that the same data gives the same text.
--
-- It owns the compiled functions, by content. It never reads a file, and what runs sees its data (a copy) and the
-- globals that it was given, nothing else.

local copy = require "luapilot.base.copy"
local describe = require "luapilot.base.describe"
local numbers = require "luapilot.schema.numbers"
local lexer = require "luapilot.base.lexer"
local schema = require "luapilot.schema.schema"
local suggest = require "luapilot.base.suggest"
local syntax = require "luapilot.base.syntax"

local template = {}

local KEPT = 64            -- compiled templates; then all are forgotten
local CHUNK = "=template"  -- what the debug library calls them; users see the name of their file
local TEXT, VALUE = "_TEXT_", "_VALUE_" -- how a compiled template writes; the names must not be those of a user

-- --- the parts -------------------------------------------------------------------------------

---@class luapilot.TemplatePart
---@field kind "text"|"code"|"value"
---@field source string
---@field line integer      on which it begins
---@field lines integer     newlines in it
---@field text string?      of a text: what is left to write

local function newlines(text)
  local _, count = text:gsub("\n", "")
  return count
end

local DASHES = "<%%- and -%%> do not exist here: a line with only <%% … %%> leaves no line behind anyway"

-- Behind the last token there may be a comment; it would swallow what follows on its line.
local function without_comment(code)
  if not code:find("--", 1, true) then return code end
  local tokens = lexer.tokens(code)
  local last = tokens[#tokens - 1]
  if not last then return ("\n"):rep(newlines(code)) end
  if last.kind == "unfinished" then
    return last.text:sub(1, 2) ~= "--" and code or nil, "a comment is not closed before %>"
  end
  local start = 1
  for _ = 2, last.line do start = code:find("\n", start, true) + 1 end
  local stop = start + last.column + #last.text - 2
  return code:sub(1, stop) .. ("\n"):rep(newlines(code:sub(stop + 1)))
end

local function tag(code, line)
  local kind = code:sub(1, 1) == "=" and "value" or "code"
  if kind == "value" then code = code:sub(2) end
  if kind == "code" and (code:find "^%-[^-]" or code:find "[^-]%-$") then return nil, DASHES:format() end
  local clean, message = without_comment(code)
  if not clean then return nil, message end
  if kind == "value" and not clean:find "%S" then return nil, "<%= %> has nothing to write" end
  return { kind = kind, source = clean, line = line, lines = newlines(clean) }
end

-- Texts and tags in turn: first and last are texts, perhaps empty. Nil, message, line.
local function split(text)
  local parts, at, line = {}, 1, 1
  local function add_text(to)
    local source = text:sub(at, to)
    parts[#parts + 1] = { kind = "text", source = source, text = source, line = line, lines = newlines(source) }
    line = line + newlines(source)
  end
  while true do
    local open = text:find("<%", at, true)
    if not open then break end
    add_text(open - 1)
    local close = text:find("%>", open + 2, true)
    if not close then return nil, "<% is not closed by %>", line end
    local part, message = tag(text:sub(open + 2, close - 1), line)
    if not part then return nil, message, line end
    parts[#parts + 1] = part
    at, line = close + 2, line + part.lines
  end
  add_text(#text)
  return parts
end

-- --- lines of statements only ----------------------------------------------------------------

local function is_blank(text) return text:find "^[ \t]*$" ~= nil end
local function begins_line(text, is_first) return text:find "\n[ \t]*$" ~= nil or is_first and is_blank(text) end
local function ends_line(text, is_last) return text:find "^[ \t]*\r?\n" ~= nil or is_last and is_blank(text) end

-- The last tag of those that stand, with blanks between them at most, on one line alone; nil if there is more on it.
local function alone(parts, first)
  local i = first
  if not begins_line(parts[i - 1].source, i == 2) then return nil end
  while parts[i] and parts[i].kind == "code" do
    local following = parts[i + 1]
    if ends_line(following.source, i + 1 == #parts) then return i end
    if not is_blank(following.source) then return nil end
    i = i + 2
  end
end

local function trim(parts)
  local i = 2
  while parts[i] do
    local last = alone(parts, i)
    if last then
      parts[i - 1].text = parts[i - 1].text:gsub("[ \t]*$", "")
      for between = i + 1, last - 1, 2 do parts[between].text = "" end
      local text, found = parts[last + 1].text:gsub("^[ \t]*\r?\n", "")
      parts[last + 1].text = found > 0 and text or ""
      i = last
    end
    i = i + 2
  end
end

-- --- the function ----------------------------------------------------------------------------

local write = {} -- by kind of part: Lua that does it, with as many newlines as the part

-- A statement that can only begin: no tag that lacks its end can take it for the rest of what it says.
local STATEMENT = " repeat %s until true "

function write.text(part, i)
  local call = part.text ~= "" and STATEMENT:format(("%s(%d)"):format(TEXT, i)) or ""
  return call .. ("\n"):rep(part.lines)
end

function write.code(part) return " " .. part.source .. " " end

function write.value(part, i)
  return (STATEMENT:gsub("%%s", (("%s(%d, %s)"):format(VALUE, i, part.source):gsub("%%", "%%%%"))))
end

-- Our own words in Lua's messages.
local function in_words(message)
  message = message:gsub("near 'repeat'", "at %%>"):gsub("%s*repeat _%u+_%b().*$", "'")
  return message
end

local function compile_error(message, source)
  local line, text = syntax.explain(message, source):match "^template:(%d+): (.*)$"
  return in_words(text or message), tonumber(line) or 1
end

-- Each value must be one expression by itself.
local function check_values(parts)
  for _, part in ipairs(parts) do
    if part.kind == "value" then
      local code = ("\n"):rep(part.line - 1) .. "return (" .. part.source .. ")"
      local chunk, message = load(code, CHUNK, "t")
      if not chunk then return nil, compile_error(message, code) end
    end
  end
  return true
end

local function compile(text)
  local parts, message, line = split(text)
  if not parts then return nil, message, line end
  trim(parts)
  local ok
  ok, message, line = check_values(parts)
  if not ok then return nil, message, line end
  local lines = { ("local %s, %s = ..."):format(TEXT, VALUE) }
  for i, part in ipairs(parts) do lines[#lines + 1] = write[part.kind](part, i) end
  local source = table.concat(lines)
  local chunk
  chunk, message = load(source, CHUNK, "t")
  if not chunk then return nil, compile_error(message, source) end
  return { parts = parts, code = string.dump(chunk) } -- made anew for each run: with globals of its own
end

-- --- a run -----------------------------------------------------------------------------------

-- What the data is now: a run must neither change it nor see it change. Objects stay what they are.
local function copy_of(value, seen)
  if type(value) ~= "table" or getmetatable(value) ~= nil then return value end
  if seen[value] then return seen[value] end
  local result = {}
  seen[value] = result
  for key, field in next, value do result[copy_of(key, seen)] = copy_of(field, seen) end
  return result
end

-- pairs in the order of the keys.
local function ordered_pairs(map)
  if type(map) ~= "table" then
    error(("bad argument #1 to 'pairs' (table expected, got %s)"):format(map == nil and "no value" or type(map)), 2)
  end
  local keys, i = schema.keys(map), 0
  return function()
    local value
    repeat
      i = i + 1
      value = map[keys[i]]
    until value ~= nil or keys[i] == nil
    return keys[i], value
  end
end

local FUNCTIONS = { "assert", "error", "ipairs", "next", "select", "tonumber", "tostring", "type", "unpack" }
local LIBRARIES = { "string", "table", "math" }
local OS = { "date", "time" }

-- The pure part of Lua, anew for each run: what a template writes into it is seen by no other.
local function pure(lua)
  local globals = { pairs = ordered_pairs, os = {} }
  for _, name in ipairs(FUNCTIONS) do globals[name] = lua[name] end
  for _, name in ipairs(LIBRARIES) do globals[name] = copy.shallow(lua[name]) end
  for _, name in ipairs(OS) do globals.os[name] = lua.os[name] end
  globals.string.dump = nil
  return globals
end

local function names_of(...)
  local names = {}
  for i = 1, select("#", ...) do
    for name in pairs((select(i, ...))) do
      if type(name) == "string" then names[#names + 1] = name end
    end
  end
  table.sort(names)
  return names
end

-- A name that is not there is misspelt, or its value is nil: both look the same from here.
local function unknown(name, data, globals)
  local near = suggest.near(name, names_of(data, globals))
  if near then return ("unknown variable %s (did you mean %s?)"):format(describe.quote(name), describe.quote(near)) end
  local names = suggest.hint(name, names_of(data)):gsub("valid:", "it has:")
  return ("%s is not in data%s, or nil there: a value that may be missing is passed as false, or with a default")
    :format(describe.quote(name), names)
end

-- Fields of the data hide globals of the same name.
local function environment(data, globals)
  return setmetatable({}, { __index = function(_, name)
    local value = data[name]
    if value == nil then value = globals[name] end
    if value == nil then error(unknown(tostring(name), data, globals), 0) end
    return value
  end })
end

-- A failure that knows its line already.
local Failure = {}

local function shown(part)
  local code = describe.covered(part.source):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  return ("<%%= %s %%>"):format(#code > 60 and code:sub(1, 57) .. "..." or code)
end

local WRITABLE = "; a string, a number or a boolean can be written"

local function text_of(value, part)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" and numbers.holds(value) then return describe.number(value) end
  if kind == "boolean" then return tostring(value) end
  local message = value == nil and shown(part) .. " is nil"
    or ("%s is %s%s"):format(shown(part), describe.value(value), WRITABLE)
  error(setmetatable({ line = part.line, message = message }, Failure), 0)
end

local function current_line()
  for level = 3, 200 do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.source == CHUNK then return info.currentline end
  end
end

-- Errors that are no strings are not ours to explain: a cancelled task passes through here.
local function explain(err)
  if getmetatable(err) == Failure or type(err) ~= "string" then return err end
  local message = err:gsub("^template:%d+: ", "")
  return setmetatable({ line = current_line() or 1, message = message }, Failure)
end

---@class luapilot.CompiledTemplate
local Compiled = {}
Compiled.__index = Compiled

---The text. `name` is what errors call the template. What the data's own functions raise, other than a string, is
---raised.
---@param data table
---@param name string
---@return string? text
---@return string? message     "app.conf.tmpl:3: …"
function Compiled:run(data, name)
  local written, count = {}, 0
  local parts = self.parts
  local function put(text)
    count = count + 1
    written[count] = text
  end
  local chunk = load(self.code, CHUNK, "b", environment(copy_of(data, {}), pure(self.lua)))
  local ok, err = xpcall(chunk, explain,
    function(i) put(parts[i].text) end,
    function(i, value) put(text_of(value, parts[i])) end)
  if ok then return table.concat(written) end
  if getmetatable(err) ~= Failure then error(err, 0) end
  return nil, ("%s:%d: %s"):format(name, err.line, err.message)
end

-- --- all templates ---------------------------------------------------------------------------

---@class luapilot.TemplateStore
local Store = {}
Store.__index = Store

---Compiles a text, once for each content.
---@param text string
---@param name string          for messages
---@return luapilot.CompiledTemplate?
---@return string? message     "app.conf.tmpl:3: …"
function Store:compile(text, name)
  local known = self.compiled[text]
  if known then return known end
  local made, message, line = compile(text)
  if not made then return nil, ("%s:%d: %s"):format(name, line, message) end
  made.lua = self.lua
  if self.count == KEPT then self.compiled, self.count = {}, 0 end
  self.compiled[text], self.count = setmetatable(made, Compiled), self.count + 1
  return made
end

---@param lua table      globals to take Lua's libraries from: a box has clocks and random numbers of its own
---@return luapilot.TemplateStore
function template.store(lua)
  return setmetatable({ lua = lua, compiled = {}, count = 0 }, Store)
end

return template
