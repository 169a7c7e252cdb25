-- Every directory of examples/: nobody forgets one. What each does is the business of its own specs.

local example = require "support.example"
local run     = require "support.run"
local story   = require "support.story"

-- As a user calls it who has copied the directory, alone, and is elsewhere.
local function luapilot(name, ...)
  local p = run.program({ "sh", "-c", 'cp -r "$0" copied && mkdir elsewhere && cd elsewhere && exec "$@"',
    example.root .. "/examples/" .. name, run.binary, ... }, {
    env = { CONSUL = "127.0.0.1", OTHER_DC = "west" },  -- some need them
  })
  p:wait()
  return p
end

describe("examples/", function()
  after_each(run.cleanup)

  it("has examples", function() assert.is_true(#example.names() >= 15) end)

  for _, name in ipairs(example.names()) do
    local pilot = "../copied/pilot.lua"

    it(name .. " is a good file, copied alone and checked from elsewhere", function()
      local p = luapilot(name, "check", pilot)
      story.assert_ends(p, 0)
      for line in p:stderr():gmatch "[^\n]+" do -- what they run need not be here
        assert.is_truthy(line:find "on this machine$" or line:find "libcurl", line)
      end
      assert.equal(pilot .. ": no mistakes", p:stdout():match "^[^\n,]*")
    end)

    it(name .. " can be drawn", function()
      local p = luapilot(name, "graph", pilot)
      story.assert_ends(p, 0)
      assert.matches("^flowchart LR\n.*\n%%%% shutdown: ", p:stdout())
    end)

    it(name .. " passes its own spec", function()
      local p = luapilot(name, "test", "../copied", "--", "--output=plainTerminal")
      story.assert_ends(p, 0)
      local passed = tonumber(p:stdout():match "(%d+) success")
      assert.is_true(passed > 0)
      assert.matches(" 0 failures / 0 errors / 0 pending ", p:stdout())
    end)

    it(name .. " says so if it needs Consul", function()
      local text = example.read("examples/" .. name .. "/pilot.lua")
      local uses = text:gsub("%-%-[^\n]*", ""):find "pilot%.consul" or text:find '"consul"'
      assert.equal(uses ~= nil, text:find "\n%-%- Needs [^\n]*Consul" ~= nil or text:find "\n%-%- Consul at " ~= nil)
    end)

    it(name .. " is also run for real, and told of in the README", function()
      local spec = ("spec/integration/example_%s_spec.lua"):format(name:gsub("-", "_"))
      assert.is_not_nil(example.read(spec))
      assert.is_truthy(example.read "examples/README.md":find(("| [%s]("):format(name), 1, true))
    end)
  end
end)
