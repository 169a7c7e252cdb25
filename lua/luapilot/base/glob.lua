-- glob: names that match a pattern, as in a shell: `*`, `?`, `[a-z]`, `[!a-z]`; a backslash takes the next character as
-- it is. None of them matches a slash, and a dot at the beginning of a name is matched by a dot only.
--
-- A match costs at most the length of the name times that of the pattern, whatever the two look like. Pure: what is in
-- a directory is file/fs.lua's.

local glob = {}

local STAR, ANY = {}, {}

-- [abc], [a-z], [!abc]: the set and where the pattern goes on. Nil: the bracket is never closed, and is a character.
local function set_at(pattern, at)
  local negated = pattern:find("^[!^]", at + 1) ~= nil
  local first = at + (negated and 2 or 1)
  local stop = pattern:find("]", first + 1, true) -- a ] that comes first is one of the set
  if not stop then return nil end
  local set, i = { negated = negated }, first
  while i < stop do
    local from, to = pattern:match("^(.)%-([^%]])", i)
    set[#set + 1] = { from or pattern:sub(i, i), to or pattern:sub(i, i) }
    i = i + (from and 3 or 1)
  end
  return set, stop + 1
end

local function element_at(pattern, at)
  local char = pattern:sub(at, at)
  if char == "*" then return STAR, at + 1 end
  if char == "?" then return ANY, at + 1 end
  if char == "\\" and at < #pattern then return pattern:sub(at + 1, at + 1), at + 2 end
  if char == "[" then
    local set, after = set_at(pattern, at)
    if set then return set, after end
  end
  return char, at + 1
end

---One part of a path. A string: it has nothing special in it, and this is the name.
---@param pattern string
---@return string|table compiled
function glob.compile(pattern)
  local list, at, plain = {}, 1, true
  while at <= #pattern do
    list[#list + 1], at = element_at(pattern, at)
    plain = plain and type(list[#list]) == "string"
  end
  return plain and table.concat(list) or list
end

local function is_in(set, char)
  for _, range in ipairs(set) do
    if char >= range[1] and char <= range[2] then return not set.negated end
  end
  return set.negated
end

local function fits(element, char)
  if char == "" or element == nil or element == STAR then return false end
  if element == ANY then return true end
  if type(element) == "string" then return element == char end
  return is_in(element, char)
end

---@param compiled table      as of compile()
---@param name string
---@return boolean
function glob.matches(compiled, name)
  if name:sub(1, 1) == "." and compiled[1] ~= "." then return false end
  local at, i, star, retry = 1, 1, nil, nil
  while i <= #name do
    if compiled[at] == STAR then
      star, retry, at = at, i, at + 1
    elseif fits(compiled[at], name:sub(i, i)) then
      at, i = at + 1, i + 1
    elseif star then -- the last star takes one more
      retry = retry + 1
      at, i = star + 1, retry
    else
      return false
    end
  end
  while compiled[at] == STAR do at = at + 1 end
  return at > #compiled
end

return glob
