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
local function embedded(text, luajit)
  local source, made = os.tmpname(), os.tmpname()
  local file = assert(io.open(source, "w"))
  file:write(text)
  file:close()
  local path = source .. ".lua"
  assert(os.rename(source, path))
  assert.equal(0, os.execute(("%s tools/embed.lua %s %s"):format(luajit or "luajit", made, path)))
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

-- A table of each kind, and fields that come later.
local ROOM = [[
local plain = {}
plain.a, plain.b, plain.c, plain.d, plain.e = ...
function plain.f() end
local copied = { a = ..., b = 1, c = select(2, ...) }
copied.d, copied.e, copied.b, copied.f = ..., ..., 2, plain
if ... then copied.g = "once" else copied.h = "never" end
local mixed = { ..., "two", [2.5] = true, [true] = 7, x = -1.5, y = ... }
return plain, copied, mixed
]]

-- Bytes that a call takes, and what it returns.
local function taken(chunk, ...)
  collectgarbage "collect"
  collectgarbage "stop"
  local before = collectgarbage "count"
  local plain, copied, mixed = chunk(...)
  local bytes = (collectgarbage "count" - before) * 1024
  collectgarbage "restart"
  return bytes, { plain, copied, mixed }
end

describe("constructors in embedded bytecode", function()
  local source, chunk = assert(loadstring(ROOM)), assert(loadstring(embedded(ROOM), "embedded"))

  it("make what those of the source make", function()
    local _, expected = taken(source, 1, 2, 3)
    local _, made = taken(chunk, 1, 2, 3)
    expected[1].f, made[1].f = nil, nil -- a function each
    assert.same(expected, made)
    local _, none = taken(chunk)
    assert.same({ nil, nil, "never" }, { none[2].a, none[2].g, none[2].h })
  end)

  it("show no field that was not set", function()
    local _, made = taken(chunk, nil, 2)
    local names = {}
    for name in pairs(made[2]) do names[#names + 1] = name end
    table.sort(names)
    assert.equal("b c f h", table.concat(names, " "))
  end)

  -- Where little is set, the room for the rest shows; where all is, nothing has been taken that growing would not take.
  it("keep room for what is set later, and no more than that takes", function()
    local dumped = assert(loadstring(string.dump(source)))
    assert.is_true(taken(chunk) > taken(dumped), "there is no room")
    assert.equal(taken(dumped, 1, 2, 3, 4, 5), taken(chunk, 1, 2, 3, 4, 5))
  end)
end)

describe("bytecode that is not laid out as tools/presize.lua knows", function()
  -- A LuaJIT that has opcodes of other names, or in another order.
  local function other(change)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("local vmdef = require 'jit.vmdef' ", change)
    file:close()
    return "luajit -e 'dofile [[" .. path .. "]]'", path
  end

  local CHANGES = {
    ["lacks an opcode"] = "vmdef.bcnames = vmdef.bcnames:gsub('TDUP  ', 'TCOPY ')",
    ["has others at its numbers"] = "vmdef.bcnames = 'NEWOP ' .. vmdef.bcnames",
  }

  for name, change in pairs(CHANGES) do
    it("is left as it is when it " .. name .. ", and that is said", function()
      local luajit, path = other(change)
      local said = os.tmpname()
      local code = embedded(ROOM, luajit .. " 2>" .. said)
      assert.is_truthy(io.open(said):read "*a":find "constructors keep no room for their fields")
      os.remove(path)
      os.remove(said)
      local expected, made = {}, {}
      expected[1], expected[2], expected[3] = loadstring(ROOM)(1, 2, 3)
      made[1], made[2], made[3] = assert(loadstring(code))(1, 2, 3)
      expected[1].f, made[1].f = nil, nil
      assert.same(expected, made)
      assert.is_true(#code < #embedded(ROOM))
    end)
  end
end)
