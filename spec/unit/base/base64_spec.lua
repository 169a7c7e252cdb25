local base64 = require "luapilot.base.base64"

describe("base64", function()
  it("writes the examples of RFC 4648", function()
    local examples = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=",
      foobar = "Zm9vYmFy" }
    for bytes, text in pairs(examples) do
      assert.equal(text, base64.encode(bytes))
      assert.equal(bytes, base64.decode(text))
    end
  end)

  it("keeps every byte", function()
    local bytes = {}
    for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
    for length = 250, 256 do
      local text = table.concat(bytes, "", 1, length)
      assert.equal(text, base64.decode(base64.encode(text)))
    end
    assert.equal("\n\n\n", base64.decode(base64.encode "\n\n\n"))
  end)

  it("refuses what is none", function()
    for _, text in ipairs { "Zg=", "Z", "Zg==Zg==", "Zm9v\n", "Zm9*", "=" } do
      local bytes, message = base64.decode(text)
      assert.is_nil(bytes)
      assert.equal("this is not base64", message)
    end
  end)
end)
