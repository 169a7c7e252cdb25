local lazy = require "luapilot.base.lazy"

describe("lazy", function()
  local NAME = "spec.lazy.module"
  local loads

  before_each(function()
    loads = 0
    package.preload[NAME] = function()
      loads = loads + 1
      return { five = function() return 5 end, name = "module" }
    end
  end)
  after_each(function() package.preload[NAME], package.loaded[NAME] = nil, nil end)

  it("loads a module when something of it is used, once", function()
    local module = lazy.require(NAME)
    assert.equal(0, loads)
    assert.equal(5, module.five())
    assert.equal("module", module.name)
    assert.is_nil(module.nothing)
    assert.equal(5, lazy.require(NAME).five())
    assert.equal(1, loads)
  end)

  it("gives the module itself to who wants it", function()
    assert.equal(lazy.load(NAME), require(NAME))
    assert.equal(1, loads)
  end)

  it("tries again after a failure, in the module or in one that it needs", function()
    local broken = true
    package.preload[NAME] = function() return { inner = require(NAME .. ".inner") } end
    package.preload[NAME .. ".inner"] = function()
      if broken then error("no memory", 0) end
      return "inner"
    end
    local module = lazy.require(NAME)
    assert.has_error(function() return module.inner end, "no memory")
    broken = false
    assert.equal("inner", module.inner)
    package.preload[NAME .. ".inner"], package.loaded[NAME .. ".inner"] = nil, nil
  end)

  it("lends a class methods that are loaded when the first is called", function()
    package.preload[NAME] = function()
      loads = loads + 1
      return { add = function(self, n) self.sum = self.sum + n return self.sum, "added" end, zero = function() end }
    end
    local Class = {}
    Class.__index = Class
    lazy.methods(Class, function() return lazy.load(NAME) end, { "add", "zero" })
    local object, other = setmetatable({ sum = 1 }, Class), setmetatable({ sum = 5 }, Class)
    assert.equal(0, loads)
    assert.same({ 3, "added" }, { object:add(2) })
    assert.equal(7, other:add(2))
    assert.is_nil(other:zero())
    assert.equal(1, loads)
    assert.equal(lazy.load(NAME).add, Class.add)
  end)

  -- A module loaded on a stack without room would fail, and stay lost.
  it("does not need the stack of who happens to be the first", function()
    package.preload[NAME] = function()
      local function deep(n) return n == 0 and 0 or 1 + deep(n - 1) end
      return { depth = deep(1000) }
    end
    local module, found = lazy.require(NAME), nil
    local function fall()
      found = found or module.depth
      return 1 + fall()
    end
    local function deep(n)
      if n > 0 then return 1 + deep(n - 1) end
      return fall()
    end
    assert.has_error(function() deep(15000) end)
    assert.equal(1000, found)
  end)
end)
