-- filter: the expressions of ?filter=, on rows as they are shown.
--
--   Service.Tags contains "blue" and (Service.Meta.zone == east or not Checks.Status != passing)
--
-- Selectors have types, as in Consul, and an operator that does not fit one is an error: what is refused there must be
-- refused here. A path that crosses a list (Checks.Status) holds when it holds for one of its elements. Pure.

local filter = {}

-- --- what there is to select -------------------------------------------------------------------

local NODE = {
  ID = "text", Node = "text", Address = "text", Datacenter = "text", TaggedAddresses = "map", Meta = "map",
}

local SERVICE = {
  ID = "text", Service = "text", Kind = "text", Tags = "list", Address = "text", Meta = "map", Port = "number",
  EnableTagOverride = "flag", Weights = { Passing = "number", Warning = "number" },
}

local CHECK = {
  Node = "text", CheckID = "text", Name = "text", Status = "text", Notes = "text", Output = "text", ServiceID = "text",
  ServiceName = "text", ServiceTags = "list", Type = "text",
}

local SHAPES = {
  node = NODE, check = CHECK, local_service = SERVICE,
  health_service = { Node = NODE, Service = SERVICE, Checks = { each = CHECK } },
  catalog_service = {
    ID = "text", Node = "text", Address = "text", Datacenter = "text", TaggedAddresses = "map", NodeMeta = "map",
    ServiceKind = "text", ServiceID = "text", ServiceName = "text", ServiceTags = "list", ServiceAddress = "text",
    ServiceWeights = { Passing = "number", Warning = "number" }, ServiceMeta = "map", ServicePort = "number",
    ServiceEnableTagOverride = "flag",
  },
}

-- As far as it is wrong.
local function invalid(words, last)
  return nil, ('Selector "%s" is not valid'):format(table.concat(words, ".", 1, last))
end

-- The type of what a selector means.
local function type_of(shape, words)
  local at = shape
  for i, word in ipairs(words) do
    if at == "map" then
      if i == #words then return "text" end
      return invalid(words, i)
    end
    if type(at) == "table" and at.each then at = at.each end
    if type(at) ~= "table" then return invalid(words, i) end
    at = at[word]
    if at == nil then return invalid(words, i) end
  end
  if type(at) == "table" then return at.each and "list" or "struct" end
  return at
end

-- --- words -------------------------------------------------------------------------------------

local function no_match(position, what)
  return nil, ("1:%d (%d): no match found, expected: %s"):format(position, position - 1, what)
end

local RULES = {
  { kind = "value", pattern = '^"([^"]*)"' }, { kind = "value", pattern = "^`([^`]*)`" },
  { kind = "operator", pattern = "^([=!]=)" }, { kind = "bracket", pattern = "^([()])" },
  { kind = "word", pattern = "^([%w_./:-]+)" },
}

local function token_at(text, position)
  for _, rule in ipairs(RULES) do
    local _, stop, found = text:find(rule.pattern, position)
    if stop then return rule.kind, stop, found end
  end
end

-- { kind, text, at }: "word" (a selector or a bare value), "value" (quoted), or an operator.
local function tokens_of(text)
  local list, position = {}, 1
  while true do
    position = text:find("%S", position)
    if not position then break end
    local kind, stop, found = token_at(text, position)
    if not stop then return no_match(position, "a selector, a value or an operator") end
    list[#list + 1] = { kind = kind, text = found, at = position }
    position = stop + 1
  end
  return list
end

-- --- the tests ---------------------------------------------------------------------------------

local function missing(value) return value == nil or type(value) == "table" and next(value) == nil end

local function equals(value, wanted) return tostring(value) == wanted end

local function has(value, wanted)
  if type(value) == "string" then return value:find(wanted, 1, true) ~= nil end
  for key, one in pairs(value) do
    if key == wanted and type(key) == "string" or one == wanted and type(key) == "number" then return true end
  end
  return false
end

-- A regular expression of Go that Lua's patterns can say: literal text, ".", ".*", ".+", "^", "$", classes in brackets.
local function pattern_of(text)
  if text:find "[|{}\\]" or text:find "%)[?*+]" then
    return nil, ("the simulated Consul cannot match %q: only literal text, . * + ? [ ] ^ $"):format(text)
  end
  return (text:gsub("%%", "%%%%"):gsub("%-", "%%-"):gsub("[()]", ""):gsub("%[(.-)%]", function(inside)
    return "[" .. inside:gsub("%%%-", "-") .. "]"
  end))
end

-- Operators: which types they fit, their name in messages, and the test.
local OPERATORS = {
  ["=="] = { name = "Equal", fits = { text = true, number = true, flag = true }, test = equals },
  ["!="] = { name = "Not Equal", fits = { text = true, number = true, flag = true }, test = equals, negates = true },
  ["in"] = { name = "In", fits = { text = true, list = true, map = true }, test = has },
  ["not in"] = { name = "Not In", fits = { text = true, list = true, map = true }, test = has, negates = true },
  ["is empty"] = { name = "Is Empty", fits = { list = true, map = true }, test = missing },
  ["is not empty"] = { name = "Is Not Empty", fits = { list = true, map = true }, test = missing, negates = true },
  matches = { name = "Matches", fits = { text = true }, test = function(value, wanted)
    return tostring(value):find(wanted) ~= nil
  end },
}
OPERATORS["not matches"] = {
  name = "Not Matches", fits = OPERATORS.matches.fits, test = OPERATORS.matches.test, negates = true,
}

-- Every value that a path means: several where it crosses a list.
local function reach(row, words, from, found)
  local at = row
  for i = from, #words do
    if at == nil then return end
    if at[1] ~= nil and type(at[1]) == "table" then
      for _, one in ipairs(at) do reach(one, words, i, found) end
      return
    end
    at = at[words[i]]
  end
  found[#found + 1] = at == nil and "" or at
end

local function crosses(shape, words)
  local at = shape
  for _, word in ipairs(words) do
    if type(at) ~= "table" then return false end
    if at.each then return true end
    at = at[word]
  end
  return false
end

local function comparison(shape, words, operator, value)
  local kind, message = type_of(shape, words)
  if not kind then return nil, message end
  local name = table.concat(words, ".")
  if not operator.fits[kind] then
    return nil, ('Invalid match operator "%s" for selector "%s"'):format(operator.name, name)
  end
  if kind == "number" and not value:find "^-?%d+$" then
    local what = 'Failed to coerce value "%s" for selector "%s": strconv.ParseInt: parsing "%s": invalid syntax'
    return nil, what:format(value, name, value)
  end
  if operator.test == OPERATORS.matches.test then
    value, message = pattern_of(value)
    if not value then return nil, message end
  end
  local in_map = kind == "text" and #words > 1 and type_of(shape, { unpack(words, 1, #words - 1) }) == "map"
  local many = crosses(shape, words)
  return function(row)
    local found = {}
    reach(row, words, 1, found)
    for _, one in ipairs(found) do
      local absent = in_map and one == ""
      local holds = not absent and operator.test(one, value)
      if operator.negates then holds = not holds end
      if holds then return true end
      if not many then return false end
    end
    return false
  end
end

-- --- the grammar -------------------------------------------------------------------------------

local Parser = {}
Parser.__index = Parser

function Parser:peek(text)
  local token = self.tokens[self.next]
  return token and token.kind ~= "value" and token.text == text
end

function Parser:take(text)
  if not self:peek(text) then return false end
  self.next = self.next + 1
  return true
end

function Parser:here(what)
  local token = self.tokens[self.next]
  return no_match(token and token.at or #self.text + 1, what)
end

function Parser:word(what)
  local token = self.tokens[self.next]
  if not token or token.kind ~= "word" and token.kind ~= "value" then return self:here(what) end
  self.next = self.next + 1
  return token
end

-- What begins like a number and is not in quotes must be one.
local function bad_number(token)
  if token.kind ~= "word" or not token.text:find "^%-?%d" then return nil end
  local number = token.text:match "^%-?%d+%.%d+" or token.text:match "^%-?%d+"
  if number == token.text then return nil end
  local stop = token.at + #number
  return ('1:%d (%d): rule "number": Invalid number literal'):format(stop, stop - 1)
end

local function selector(token)
  local words = {}
  for word in token.text:gmatch "[^.]+" do words[#words + 1] = word end
  return words
end

-- What stands behind a selector.
function Parser:operator()
  if self:take "is" then
    local negated = self:take "not"
    if not self:take "empty" then return self:here '"empty", "not" or [ \\t\\r\\n]' end
    return negated and "is not empty" or "is empty"
  end
  local negated = self:take "not"
  for _, name in ipairs { "==", "!=", "contains", "in", "matches" } do
    if (not negated or name ~= "==" and name ~= "!=") and self:take(name) then
      return (negated and "not " or "") .. name
    end
  end
  return self:here '"!=", ".", "==", "[", [ \\t\\r\\n] or [a-zA-Z0-9_]'
end

function Parser:comparison()
  local first, message = self:word "a selector or a value"
  if not first then return nil, message end
  local name
  name, message = self:operator()
  if not name then return nil, message end
  if name == "is empty" or name == "is not empty" then
    return comparison(self.shape, selector(first), OPERATORS[name], "")
  end
  local second
  second, message = self:word "a value"
  if not second then return nil, message end
  local reversed = name == "in" or name == "not in" -- "value" in Selector
  if name == "contains" or name == "not contains" then name = name:gsub("contains", "in") end
  if reversed then first, second = second, first end
  message = bad_number(second)
  if message then return nil, message end
  return comparison(self.shape, selector(first), OPERATORS[name], second.text)
end

function Parser:unary()
  if self:take "not" then
    local inner, message = self:unary()
    return inner and function(row) return not inner(row) end, message
  end
  if self:take "(" then
    local inner, message = self:either()
    if inner and not self:take ")" then return self:here '")"' end
    return inner, message
  end
  return self:comparison()
end

function Parser:both()
  local left, message = self:unary()
  while left and self:take "and" do
    local one, right = left, nil
    right, message = self:unary()
    left = right and function(row) return one(row) and right(row) end
  end
  return left, message
end

function Parser:either()
  local left, message = self:both()
  while left and self:take "or" do
    local one, right = left, nil
    right, message = self:both()
    left = right and function(row) return one(row) or right(row) end
  end
  return left, message
end

---@param text string
---@param shape "node"|"check"|"local_service"|"health_service"|"catalog_service"
---@return (fun(row: table): boolean)?
---@return string? message
function filter.compile(text, shape)
  local tokens, message = tokens_of(text)
  if not tokens then return nil, message end
  local parser = setmetatable({ text = text, tokens = tokens, next = 1, shape = SHAPES[shape] }, Parser)
  local fits
  fits, message = parser:either()
  if not fits then return nil, message end
  if tokens[parser.next] then return parser:here '"and", "or" or the end' end
  return fits
end

return filter
