-- The bytecode inside the program: it does what the source does, its errors have lines, and nothing else is kept.

local SOURCE = [[
local unspoken, count = {}, 0
local function add(by)
  count = count + by
  return function() return unspoken.field.value, count end
end
return function(wrong, ...)
  local sum = 0
  for _, each in ipairs { ... } do sum = sum + each end
  add(sum)
  if wrong then return add(1)() end
  return count, 1e300, -7, "text", { 1, 2, key = true }
end
]]

-- What tools/embed.lua makes of a file, by the C text that it writes: octal escapes, one module after the other.
local function embedded(text)
  local source, made = os.tmpname(), os.tmpname()
  local file = assert(io.open(source, "w"))
  file:write(text)
  file:close()
  local path = source .. ".lua"
  assert(os.rename(source, path))
  assert.equal(0, os.execute(("luajit tools/embed.lua %s %s"):format(made, path)))
  local code = {}
  for line in io.lines(made) do
    local literal = line:match '^"(.*)"$'
    if literal then code[#code + 1] = literal:gsub("\\(%d%d%d)", function(o) return string.char(tonumber(o, 8)) end) end
  end
  local offset, size
  for line in io.lines(made) do
    local name, from, length = line:match '^  {"([^"]*)", (%d+), (%d+)},$'
    if name and path:find(name:match "[^.]*$", 1, true) then offset, size = tonumber(from), tonumber(length) end
  end
  os.remove(path)
  os.remove(made)
  return table.concat(code):sub(offset + 1, offset + size)
end

describe("embedded bytecode", function()
  local code, chunk

  setup(function()
    code = embedded(SOURCE)
    chunk = assert(loadstring(code, "embedded"))
  end)

  it("does what its source does", function()
    local count, large, negative, text, list = chunk()(false, 1, 2, 3)
    assert.same({ 6, 1e300, -7, "text", { 1, 2, key = true } }, { count, large, negative, text, list })
  end)

  it("has the lines of its source in errors and tracebacks", function()
    local ok, message = xpcall(chunk(), debug.traceback, true)
    assert.is_false(ok)
    assert.is_truthy(message:find("%.lua:4: attempt to index field 'field' %(a nil value%)"), message)
    assert.is_truthy(message:find "%.lua:4: in function", message)
  end)

  it("is smaller than the whole, and has no names of locals and upvalues", function()
    assert.is_true(#code < #string.dump(assert(loadstring(SOURCE, "=source"))))
    for _, name in ipairs { "unspoken", "wrong", "sum", "each" } do
      assert.is_nil(code:find(name, 1, true), name)
    end
    assert.is_truthy(code:find("field", 1, true))
  end)
end)
