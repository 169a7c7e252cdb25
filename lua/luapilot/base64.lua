-- base64: bytes as Consul writes them into JSON (RFC 4648, with padding). It owns nothing.

local base64 = {}

local LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local letter_of, number_of = {}, {} -- 0 … 63 ↔ a letter
for i = 0, 63 do
  local letter = LETTERS:sub(i + 1, i + 1)
  letter_of[i], number_of[letter] = letter, i
end

local floor, char = math.floor, string.char

local function letters(triple)
  local a, b, c = triple:byte(1, 3)
  local bits = a * 65536 + (b or 0) * 256 + (c or 0)
  return letter_of[floor(bits / 262144)] .. letter_of[floor(bits / 4096) % 64]
    .. (b and letter_of[floor(bits / 64) % 64] or "=") .. (c and letter_of[bits % 64] or "=")
end

---@param bytes string
---@return string
function base64.encode(bytes)
  return (bytes:gsub("..?.?", letters))
end

local function triple(a, b, c, d)
  local bits = number_of[a] * 262144 + number_of[b] * 4096 + (number_of[c] or 0) * 64 + (number_of[d] or 0)
  local bytes = char(floor(bits / 65536), floor(bits / 256) % 256, bits % 256)
  return c == "=" and bytes:sub(1, 1) or d == "=" and bytes:sub(1, 2) or bytes
end

---@param text string
---@return string? bytes
---@return string? message
function base64.decode(text)
  local body = text:match "^([%w+/]*=?=?)$"
  if not body or #body % 4 ~= 0 then return nil, "this is not base64" end
  return (body:gsub("(.)(.)(.)(.)", triple))
end

return base64
