-- masks: texts that log lines must not show, and lines without them.
--
-- Of a few each is searched for in the line, which nearly always finds none. However many there are, a line is gone
-- through once: at each byte a tree of their first four says whether one of them may begin there. It goes on with
-- pieces of those that are long, each as long as all before it, so what only begins as one of them costs as much as it
-- is alike; sets of what is left, one for each length, say which it is. All that belongs to any of them is covered,
-- also where they overlap. A text is covered as it is, as %q, describe.quote and json.encode write it, and by its
-- longer lines, since messages tell the first line of an error.
--
-- It owns the texts, and counts how often each was hidden. Of a name that gives another text now and then (a token that
-- is renewed) it keeps the last ten, so nothing grows with time.

local describe = require "luapilot.base.describe"

local masks = {}

local MASK = "***"
local FEW = 16  -- texts that are searched for one by one
local DEEP = 4  -- bytes that the tree knows
local PIECE = 32 -- bytes of a text's first piece
local NONE = {}
local KEPT = 10 -- texts of one name
local SHORTEST = 8 -- bytes of a line that is covered without the others

---@class luapilot.Masks
---@field counts table<string, integer>    text → how often it was hidden
---@field number integer                   of texts
---@field longest integer                  bytes of the longest there was
---@field few string[]?                    all of them, where they are few
---@field tree table                       byte → byte → …; with `pieces`, piece → the same; `sets`, length → rests, and
---                                        `lengths`, longest first
---@field names table<string, table>       name → its last texts, { [1] …, at = the newest }
local Masks = {}
Masks.__index = Masks

---@return luapilot.Masks
function masks.new()
  return setmetatable({ counts = {}, number = 0, longest = 0, few = {}, tree = {}, names = {} }, Masks)
end

-- --- the texts -------------------------------------------------------------------------------

-- The keys that lead to a text in the tree: its first bytes, then pieces, each as long as all before it. And its rest.
local function way_to(text)
  local way, at, stop = { text:byte(1, DEEP) }, 1, PIECE
  while stop < #text do
    way[#way + 1], way[#way + 2] = "pieces", text:sub(at, stop)
    at, stop = stop + 1, 2 * stop
  end
  return way, text:sub(at)
end

local function list_lengths(node)
  local lengths = {}
  for length in pairs(node.sets) do lengths[#lengths + 1] = length end
  table.sort(lengths, function(a, b) return a > b end)
  node.lengths = lengths
  if not lengths[1] then node.sets, node.lengths = nil, nil end
end

local function plant(node, text)
  local way, rest = way_to(text)
  for _, key in ipairs(way) do
    node[key] = node[key] or {}
    node = node[key]
  end
  node.sets = node.sets or {}
  local set = node.sets[#rest] or {}
  set[rest] = true
  if node.sets[#rest] then return end
  node.sets[#rest] = set
  list_lengths(node)
end

local function drop(node, rest)
  local set = node.sets[#rest]
  set[rest] = nil
  if next(set) then return end
  node.sets[#rest] = nil
  list_lengths(node)
end

-- With all nodes of its way, from the key at `i` on, that lead to nothing else.
local function pull(node, way, i, rest)
  local key = way[i]
  if not key then return drop(node, rest) end
  pull(node[key], way, i + 1, rest)
  if not next(node[key]) then node[key] = nil end
end

local function list_few(self)
  self.few = nil
  if self.number > FEW then return end
  self.few = {}
  for text in pairs(self.counts) do self.few[#self.few + 1] = text end
end

local SHORT = { ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" } -- of JSON

-- A text as json.encode writes it, which escapes a slash, too.
local function in_json(text)
  return (text:gsub('[%c"\\/]', function(char)
    return SHORT[char] or char:find "%c" and ("\\u%04x"):format(char:byte()) or "\\" .. char
  end))
end

-- A text as messages may have it: as it is, quoted in all ways, and each of its lines (of an error the first is told).
local function forms_of(text)
  local forms, seen = { text }, { [text] = true }
  for _, form in ipairs { ("%q"):format(text):sub(2, -2), describe.escaped(text), in_json(text) } do
    if not seen[form] then forms[#forms + 1], seen[form] = form, true end
  end
  if text:find "\n" then
    for line in text:gmatch "[^\r\n]+" do
      if #line >= SHORTEST then forms[#forms + 1] = line end
    end
  end
  return forms
end

local function add(self, text)
  local count = self.counts[text]
  self.counts[text] = (count or 0) + 1
  if count then return end
  self.number, self.longest = self.number + 1, math.max(self.longest, #text)
  plant(self.tree, text)
  if self.number <= FEW + 1 then list_few(self) end
end

---From now on the text is covered.
---@param text string     not empty
function Masks:add(text)
  for _, form in ipairs(forms_of(text)) do add(self, form) end
end

local function remove(self, text)
  local count = self.counts[text]
  if not count then return end
  self.counts[text] = count > 1 and count - 1 or nil
  if count > 1 then return end
  self.number = self.number - 1
  local way, rest = way_to(text)
  pull(self.tree, way, 1, rest)
  if self.number <= FEW then list_few(self) end
end

---The text is covered no more (added twice, it is so once more).
---@param text string
function Masks:remove(text)
  for _, form in ipairs(forms_of(text)) do remove(self, form) end
end

---The same for what a name gives now: its last ten texts are covered.
---@param name string
---@param text string
function Masks:add_of(name, text)
  local last = self.names[name] or { at = 0 }
  self.names[name] = last
  for i = 1, KEPT do
    if last[i] == text then return end
  end
  last.at = last.at % KEPT + 1
  if last[last.at] then self:remove(last[last.at]) end
  last[last.at] = text
  self:add(text)
end

---A secret of the pilot at work is shown in none of its lines from now on, and quoted in none of its messages.
---@param known luapilot.Masks?    the pilot's secrets so far
---@param secret string
---@param name string?             as of add_of
---@return luapilot.Masks known
function masks.hide(known, secret, name)
  known = known or masks.new()
  describe.masks = known
  if name then known:add_of(name, secret) else known:add(secret) end
  return known
end

-- --- a line ----------------------------------------------------------------------------------

-- The last byte of the longest of a node's rests that stands at `at`.
local function rest_at(node, line, at)
  for _, length in ipairs(node.lengths or NONE) do
    local stop = at + length - 1
    if stop <= #line and node.sets[length][line:sub(at, stop)] then return stop end
  end
end

-- The last byte of the longest text that begins at `i`, of those behind a node that its first bytes lead to.
local function longest_of(node, line, i)
  local at, last, stop = i, nil, i + PIECE - 1
  while node do
    last = rest_at(node, line, at) or last
    node = stop <= #line and node.pieces and node.pieces[line:sub(at, stop)]
    at, stop = stop + 1, stop + (stop + 1 - i)
  end
  return last
end

-- The last byte of the longest text that begins at `i`; nil: none does.
local function longest_at(self, line, i)
  local node, stop = self.tree, nil
  for at = i, i + DEEP - 2 do
    node = node[line:byte(at)]
    if not node then return stop end
    stop = rest_at(node, line, i) or stop
  end
  node = node[line:byte(i + DEEP - 1)]
  return node and longest_of(node, line, i) or stop
end

-- The last byte of what is covered from `i` to `stop` on: another text may begin in the middle of the first.
local function end_of(self, line, i, stop)
  while i < stop do
    i = i + 1
    stop = math.max(stop, longest_at(self, line, i) or 0)
  end
  return stop
end

-- Of what begins up to `last`: the line so far, and where the rest begins.
local function cover(self, line, last)
  local parts, from, i = {}, 1, 1
  while i <= last do
    local stop = longest_at(self, line, i)
    if stop then
      stop = end_of(self, line, i, stop)
      parts[#parts + 1], parts[#parts + 2] = line:sub(from, i - 1), MASK
      i, from = stop, stop + 1
    end
    i = i + 1
  end
  parts[#parts + 1] = line:sub(from, i - 1)
  return table.concat(parts), i
end

-- Is there surely none of them in the line?
local function is_clean(self, line)
  for _, text in ipairs(self.few or {}) do
    if line:find(text, 1, true) then return false end
  end
  return self.few ~= nil
end

---The line with "***" where the texts were.
---@param line string
---@return string
function Masks:cover(line)
  return is_clean(self, line) and line or (cover(self, line, #line))
end

local function covered_fields(self, fields)
  local clean = {}
  for name, value in pairs(fields) do
    clean[self:cover(name)] = type(value) == "string" and self:cover(value) or value
  end
  return clean
end

---The same in a message, and in the names and the texts of its fields.
---@param message string
---@param fields table<string, any>?
---@param facts table<string, any>?
---@return string message, table<string, any>? fields, table<string, any>? facts
function Masks:cover_all(message, fields, facts)
  return self:cover(message), fields and covered_fields(self, fields), facts and covered_fields(self, facts)
end

---The same for the first part of a line, so that no text is cut in two: one that begins in it belongs to it.
---@param line string       as many bytes beyond the part as the longest text has, or all there are
---@param most integer      bytes of the part
---@return string covered
---@return integer next     where the rest of the line begins
function Masks:cover_first(line, most)
  if is_clean(self, line) then return line:sub(1, most), math.min(most, #line) + 1 end
  return cover(self, line, math.min(most, #line))
end

return masks
