local strict = require "luapilot.script.strict"

local KNOWN = { print = true, require = true, pairs = true, string = true, _G = true }

local function compile(source, name) return assert(load(source, "@" .. (name or "pilot.lua"))) end

---The mistakes in one source as "line: message".
local function check(source, without_source)
  local list = strict.check({ compile(source) }, KNOWN,
    not without_source and { ["pilot.lua"] = source } or nil)
  local result = {}
  for i, mistake in ipairs(list) do
    result[i] = ("%s: %s"):format(mistake.where:gsub("^pilot%.lua:", ""), mistake.message)
  end
  return result
end

describe("strict.globals", function()
  it("finds reads and writes, also in nested functions", function()
    assert.same({
      { name = "print", file = "pilot.lua", line = 1, set = false },
      { name = "a", file = "pilot.lua", line = 1, set = false },
      { name = "b", file = "pilot.lua", line = 2, set = true },
      { name = "c", file = "pilot.lua", line = 4, set = false },
      { name = "d", file = "pilot.lua", line = 6, set = true },
    }, strict.globals(compile [[
print(a)
b = 1
local function f(x) return function()
  return c + x
end end
function d() return f end]]))
  end)

  it("sees many constants and instructions", function()
    local parts = {}
    for i = 1, 400 do parts[i] = ("x = { 's%d', g%d.field%d }"):format(i, i, i) end
    local names = {}
    for _, use in ipairs(strict.globals(compile(table.concat(parts, "\n")))) do
      if not use.set then names[#names + 1] = use.name .. ":" .. use.line end
    end
    assert.equal(400, #names)
    assert.equal("g400:400", names[400])
  end)

  it("takes a field of _G for a global", function()
    local uses = strict.globals(compile "_G.x = 1\nlocal t = {}\nt.y = 2")
    assert.same({ { "_G", false }, { "x", true } }, { { uses[1].name, uses[1].set }, { uses[2].name,
      uses[2].set } })
    assert.is_nil(uses[3])
  end)
end)

describe("strict.check", function()
  it("accepts what is known, set or local", function()
    assert.same({}, check [[
local a = 1
print(a, string.format)
limit = 5
local function f(x) return x + limit end
_G.other = f
print(other)
for k, v in pairs {} do print(k, v) end]])
  end)

  it("accepts what another module sets", function()
    local main, other = compile "print(shared)", compile("shared = 1", "lib.lua")
    assert.equal(1, #strict.check({ main }, KNOWN))
    assert.equal(0, #strict.check({ main, other }, KNOWN))
  end)

  it("suggests globals and locals", function()
    assert.same({ '1: undefined global "pritn" (did you mean "print"?)' }, check "pritn(1)")
    assert.same({ '2: undefined global "workers" (did you mean "worker"?)' },
      check "local worker = 1\nprint(worker, workers)")
    assert.same({ '1: undefined global "jobb" (did you mean "job"?)' },
      check "local function f(job) return jobb end")
    assert.same({ '1: undefined global "nginx"' }, check "nginx:reload()")
    assert.same({ '1: undefined global "pilot": begin the file with local pilot = require "luapilot"' },
      check 'pilot.job "app" {}')
    assert.same({ '1: undefined global "pritn" (did you mean "print"?)' }, check("pritn(1)", true))
  end)

  it("names each place once", function()
    assert.same({ '1: undefined global "abc"', '2: undefined global "abc"' },
      check "print(abc, abc)\nprint(abc)")
  end)

  it("explains a local inside its own declaration", function()
    local job = [[
local pilot = require "luapilot"
local app = pilot.job "app" {
  exec = "x",
  prepare = function() app:reload() end,
}
app:reload()]]
    assert.same({ '4: undefined global "app": a local is not visible inside its own declaration; '
      .. 'write local app = pilot.job "app" first, then app { … }' }, check(job))
    assert.same({ '1: undefined global "f": a local is not visible inside its own declaration; '
      .. 'write local function f(…)' },
      check "local f = function(n) return f(n - 1) end\nprint(f)")
    assert.same({ '2: undefined global "t": a local is not visible inside its own declaration; '
      .. 'write local t first, then t = …' },
      check "local t = {\n  x = function() return t end,\n} print(t)")
  end)

  it("does not take the following statement for the declaration", function()
    assert.same({ '4: undefined global "x": the local of line 2 ends with its block' },
      check "do\n  local x = 1 + 2\nend\nprint(x)")
  end)

  it("explains a local that comes later, or has ended", function()
    assert.same({ '1: undefined global "app": the local is declared only on line 2; '
      .. 'move the declaration up' },
      check "print(app)\nlocal app = 1")
    assert.same({ '4: undefined global "x": the local of line 2 ends with its block' },
      check "if print then\n  local x = 1\nend\nprint(x)")
  end)
end)
