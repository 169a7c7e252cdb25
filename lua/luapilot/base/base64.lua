-- base64: bytes as Consul writes them into JSON (RFC 4648, with padding).
--
-- The interpreter does this work, and a value may have half a megabyte: so it takes few steps a byte. Bytes come and go
-- many at a time, and letters are looked up with their weight already in them. It owns nothing.

local byte, char, concat, floor = string.byte, string.char, table.concat, math.floor

local base64 = {}

local LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local GROUPS = 1024 -- of 4 letters a piece: below what a call may take as arguments (8,000)

local first, second, third, fourth = {}, {}, {}, {} -- a letter's code → its value, by its place in a group of four
local pair = {}                                     -- 12 bits → two letters

for i = 1, 64 do
  local code = LETTERS:byte(i)
  first[code], second[code], third[code], fourth[code] = (i - 1) * 262144, (i - 1) * 4096, (i - 1) * 64, i - 1
  for j = 1, 64 do pair[(i - 1) * 64 + j - 1] = LETTERS:sub(i, i) .. LETTERS:sub(j, j) end
end

-- --- reading -------------------------------------------------------------------------------------

local function decode_groups(text, from, to, bytes)
  local n = 0
  for i = from, to, 4 do
    local a, b, c, d = byte(text, i, i + 3)
    local bits = first[a] + second[b] + third[c] + fourth[d]
    local low = bits % 65536
    local last = low % 256
    bytes[n + 1], bytes[n + 2], bytes[n + 3] = (bits - low) / 65536, (low - last) / 256, last
    n = n + 3
  end
  return char(unpack(bytes, 1, n))
end

-- The last group, of which two or three letters are left.
local function decode_rest(text)
  local a, b, c = byte(text, 1, 3)
  local bits = first[a] + second[b] + (c and third[c] or 0)
  local high = floor(bits / 65536)
  if not c then return char(high) end
  return char(high, floor(bits / 256) % 256)
end

---@param text string
---@return string? bytes
---@return string? message
function base64.decode(text)
  local body = text:match "^([%w+/]*)=?=?$"
  if not body or #text % 4 ~= 0 then return nil, "this is not base64" end
  local whole = #body - #body % 4
  local parts, bytes = {}, {}
  for from = 1, whole, 4 * GROUPS do
    local to = from + 4 * GROUPS - 1
    parts[#parts + 1] = decode_groups(body, from, to < whole and to or whole, bytes)
  end
  if whole < #body then parts[#parts + 1] = decode_rest(body:sub(whole + 1)) end
  return concat(parts)
end

-- --- writing -------------------------------------------------------------------------------------

local function encode_rest(data)
  local a, b = byte(data, 1, 2)
  local bits = a * 65536 + (b or 0) * 256
  local high, low = pair[floor(bits / 4096)], pair[bits % 4096]
  return b and high .. low:sub(1, 1) .. "=" or high .. "=="
end

---@param data string
---@return string
function base64.encode(data)
  local whole = #data - #data % 3
  local parts, n = {}, 0
  for i = 1, whole, 3 do
    local a, b, c = byte(data, i, i + 2)
    local bits = a * 65536 + b * 256 + c
    local low = bits % 4096
    parts[n + 1], parts[n + 2] = pair[(bits - low) / 4096], pair[low]
    n = n + 2
  end
  if whole < #data then parts[n + 1] = encode_rest(data:sub(whole + 1)) end
  return concat(parts)
end

return base64
