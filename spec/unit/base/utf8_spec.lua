-- Which bytes are characters, by the code points that they would stand for.

local utf8 = require "luapilot.base.utf8"

local char, floor = string.char, math.floor

-- A code point in so many bytes, whether that is allowed or not.
local function bytes_of(point, length)
  if length == 1 then return char(point) end
  local bytes, first = {}, { [2] = 0xc0, [3] = 0xe0, [4] = 0xf0 }
  for i = length, 2, -1 do
    bytes[i], point = char(0x80 + point % 64), floor(point / 64)
  end
  bytes[1] = char(first[length] + point)
  return table.concat(bytes)
end

local function replaced(count) return ("\239\191\189"):rep(count) end

describe("utf8", function()
  it("leaves every character as it is, and replaces each byte of what is none", function()
    local shortest = { 0, 0x80, 0x800, 0x10000, 0x110000 }
    local most = { 0x7f, 0x7ff, 0xffff, 0x1fffff }
    for length = 1, 4 do
      for point = 0, most[length], length < 3 and 1 or 61 do
        local allowed = point >= shortest[length] and point <= 0x10ffff and (point < 0xd800 or point > 0xdfff)
        local text = bytes_of(point, length)
        local expected = "a" .. (allowed and text or replaced(length)) .. "z"
        if utf8.repaired("a" .. text .. "z") ~= expected then error(("U+%04X in %d bytes"):format(point, length)) end
      end
    end
  end)

  it("finds the first byte that is of no character", function()
    for text, at in pairs {
      [""] = false, abc = false, ["Köln \226\130\172"] = false, ["caf\233"] = 4, ["\226\130"] = 1, ["é\128"] = 3,
      ["éé\237\160\128x"] = 5, ["\244\143\191\191"] = false,
    } do
      assert.equal(at, utf8.fault(text) or false, text)
    end
  end)

  it("knows where each range ends", function()
    for _, text in ipairs { "\194\128", "\223\191", "\224\160\128", "\237\159\191", "\238\128\128", "\239\191\191",
      "\240\144\128\128", "\244\143\191\191" } do
      assert.equal(text, utf8.repaired(text))
    end
    for _, text in ipairs { "\193\191", "\224\159\191", "\237\160\128", "\237\191\191", "\240\143\191\191",
      "\244\144\128\128", "\245\128\128\128", "\255\255", "\128", "\226\130", "\240\159\146", "\226" } do
      assert.equal(replaced(#text), utf8.repaired(text))
    end
    assert.equal("\195\164" .. replaced(1) .. "\195\164", utf8.repaired "\195\164\195\195\164")
  end)

  it("cuts no character in two", function()
    for _, character in ipairs { "\195\164", "\226\130\172", "\240\159\146\169" } do
      local text = "ab" .. character
      assert.equal(#text, utf8.whole(text, 1, #text))
      for to = 3, #text - 1 do assert.equal(2, utf8.whole(text, 1, to)) end
    end
    assert.equal(3, utf8.whole("ab\128c", 1, 3)) -- no character: it may be cut anywhere
    assert.equal(4, utf8.whole("ab\237\160\128", 1, 4)) -- a surrogate
  end)
end)
