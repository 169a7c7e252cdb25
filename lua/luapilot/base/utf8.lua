-- utf8: where the characters are in bytes that need not be UTF-8: no surrogates, no longer form than needed, nothing
-- above U+10FFFF. src/output/utf8.c has the same rules for what jobs write.
--
-- It owns the rules, and nothing else.

local utf8 = {}

local REPLACEMENT = "\239\191\189" -- U+FFFD

-- The second byte of a character, where the first excludes some.
local SECOND = { [0xe0] = { 0xa0, 0xbf }, [0xed] = { 0x80, 0x9f }, [0xf0] = { 0x90, 0xbf }, [0xf4] = { 0x80, 0x8f } }
local ANY = { 0x80, 0xbf }

local function length_of(lead)
  return lead < 0xc2 and 1 or lead < 0xe0 and 2 or lead < 0xf0 and 3 or lead < 0xf5 and 4 or 1
end

local function is_among(byte, range) return byte ~= nil and byte >= range[1] and byte <= range[2] end

-- Bytes of the character that begins there; nil: none does.
local function character_at(text, at)
  local lead = text:byte(at)
  if lead < 0x80 then return 1 end
  local length = length_of(lead)
  if length == 1 or not is_among(text:byte(at + 1), SECOND[lead] or ANY) then return nil end
  for i = at + 2, at + length - 1 do
    if not is_among(text:byte(i), ANY) then return nil end
  end
  return length
end

local function repair(bytes)
  local parts, at = {}, 1
  while at <= #bytes do
    local length = character_at(bytes, at)
    parts[#parts + 1] = length and bytes:sub(at, at + length - 1) or REPLACEMENT
    at = at + (length or 1)
  end
  return table.concat(parts)
end

---Where the first byte is that is of no character; nil: all are.
---@param text string
---@return integer?
function utf8.fault(text)
  local at = text:find "[\128-\255]"
  while at do
    local length = character_at(text, at)
    if not length then return at end
    at = text:find("[\128-\255]", at + length)
  end
end

---The text, with U+FFFD for each byte that is of no character.
---@param text string
---@return string
function utf8.repaired(text) return (text:gsub("[\128-\255]+", repair)) end

---Where the last whole character ends, of text up to `to`: as utf8_whole() of src/output/utf8.c finds it. Of bytes that
---are no characters all are taken.
---@param text string
---@param from integer
---@param to integer
---@return integer
function utf8.whole(text, from, to)
  for at = to, math.max(from + 1, to - 2), -1 do
    local lead, second = text:byte(at, math.min(at + 1, to))
    if lead < 0x80 or lead >= 0xc0 then
      local possible = not second or is_among(second, SECOND[lead] or ANY)
      return length_of(lead) > to - at + 1 and possible and at - 1 or to
    end
  end
  return to
end

return utf8
