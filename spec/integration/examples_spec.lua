-- Every directory of examples/: nobody forgets one. What each does is the business of its own specs.

local example = require "support.example"
local run     = require "support.run"
local story   = require "support.story"

-- As a user calls it: from the root of the repository.
local function luapilot(...)
  local p = run.program({ "sh", "-c", 'cd "$0" && exec "$@"', example.root, run.binary, ... }, {
    env = { CONSUL = "127.0.0.1", OTHER_DC = "west" },  -- some need them
  })
  p:wait()
  return p
end

describe("examples/", function()
  after_each(run.cleanup)

  it("has examples", function() assert.is_true(#example.names() >= 15) end)

  for _, name in ipairs(example.names()) do
    local pilot = "examples/" .. name .. "/pilot.lua"

    it(name .. " is a good file", function()
      local p = luapilot("check", pilot)
      story.assert_ends(p, 0)
      for line in p:stderr():gmatch "[^\n]+" do -- what they run need not be here
        assert.is_truthy(line:find "on this machine$" or line:find "libcurl", line)
      end
      assert.equal(pilot .. ": no mistakes", p:stdout():match "^[^\n,]*")
    end)

    it(name .. " can be drawn", function()
      local p = luapilot("graph", pilot)
      story.assert_ends(p, 0)
      assert.matches("^flowchart LR\n.*\n%%%% shutdown: ", p:stdout())
    end)

    it(name .. " passes its own spec", function()
      local p = luapilot("test", "examples/" .. name, "--", "--output=plainTerminal")
      story.assert_ends(p, 0)
      local passed = tonumber(p:stdout():match "(%d+) success")
      assert.is_true(passed > 0)
      assert.matches(" 0 failures / 0 errors / 0 pending ", p:stdout())
    end)

    it(name .. " is also run for real, and told of in the README", function()
      local spec = ("spec/integration/example_%s_spec.lua"):format(name:gsub("-", "_"))
      assert.is_not_nil(example.read(spec))
      assert.is_truthy(example.read "examples/README.md":find(("| [%s]("):format(name), 1, true))
    end)
  end
end)
