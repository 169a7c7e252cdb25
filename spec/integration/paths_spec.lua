-- Relative paths with the real kernel: the same file, named from several directories.

local run   = require "support.run"
local story = require "support.story"

local SAY = "#!/bin/sh\necho \"said by $(basename \"$0\") in $(basename \"$PWD\") with $A\"\n"

local PILOT = [[
  local pilot = require "luapilot"
  dofile "more.lua"
  pilot.job "here" { exec = "./say.sh", env_file = "app.env" }
  pilot.job "below" { exec = "./say.sh", cwd = "sub" }
  pilot.job "plain" { exec = { "sh", "-c", "echo plain in $(basename \"$PWD\")" } }
  pilot.job "task" { run = function()
    pilot.render { text = "made\n", to = "made.txt", validate = "./good.sh {file}" }
    print(pilot.exec("./say.sh").stdout)
  end }
]]

local FILES = {
  ["conf/pilot.lua"] = PILOT, ["conf/more.lua"] = 'print "more"', ["conf/app.env"] = "A=1\n", ["conf/say.sh"] = SAY,
  ["conf/good.sh"] = "#!/bin/sh\ngrep -q made \"$1\"\n", ["conf/sub/say.sh"] = SAY,
}

-- The files are there, may be run, and the command is given in `directory`.
local function luapilot(directory, words, files)
  local list = {}
  for name, text in pairs(files or FILES) do list[name:gsub("/", "+")] = text end
  local command = { run.binary }
  for i, word in ipairs(words) do command[i + 1] = word end
  return run.program(command, { files = list, wrap = { "sh", "-c", [[
    for file in *+*; do to=$(echo "$file" | tr + /); mkdir -p "$(dirname "$to")" && mv "$file" "$to"; done
    chmod +x $(find . -name "*.sh"); mkdir -p ]] .. directory .. " && cd " .. directory .. [[ && exec "$0" "$@"]] } })
end

describe("relative paths", function()
  after_each(run.cleanup)

  local function assert_all_said(p)
    story.assert_ends(p, 0)
    story.assert_lines(p, 1, "luapilot: more")
    story.assert_lines(p, 1, "here: said by say.sh in %S+ with 1")
    story.assert_lines(p, 1, "below: said by say.sh in sub with")
    story.assert_lines(p, 1, "luapilot: said by say.sh in %S+ with")
    story.assert_lines(p, 0, "error")
  end

  it("are those of the file, named from above", function()
    local p = luapilot(".", { "run", "conf/pilot.lua" })
    assert_all_said(p)
    assert.equal("made\n", p:read "conf/made.txt")
    story.assert_lines(p, 0, "plain in conf")
  end)

  it("from beside, in its own directory, and by its whole path", function()
    local p = luapilot("other", { "run", "../conf/pilot.lua" })
    assert_all_said(p)
    story.assert_lines(p, 1, "plain in other")   -- without a cwd: where luapilot runs
    assert.equal("made\n", p:read "conf/made.txt")
    assert_all_said(luapilot("conf", { "run", "pilot.lua" }))
    assert_all_said(luapilot("conf", {}))
  end)

  it("are checked there", function()
    local p = luapilot("other", { "check", "../conf/pilot.lua" })
    story.assert_ends(p, 0)
    assert.matches("no mistakes\n", p:stdout())
  end)

  it("are shown by check without what means nothing", function()
    local p = luapilot("conf", { "check" }, {
      ["conf/pilot.lua"] = 'require "luapilot".job "app" { exec = "./gone", cwd = "." }',
    })
    story.assert_ends(p, 0)
    assert.matches('exec: there is no program "/[^"]*/conf/gone" on this machine', p:stderr())
  end)

  describe("that once were those of the working directory", function()
    local OLD = 'require "luapilot".job "app" { exec = "./say.sh", env_file = "app.env" }'

    it("are warned of by check, where both are there", function()
      local p = luapilot(".", { "check", "conf/pilot.lua" }, {
        ["conf/pilot.lua"] = OLD, ["conf/say.sh"] = SAY, ["conf/app.env"] = "A=1", ["app.env"] = "A=2",
        ["say.sh"] = SAY,
      })
      story.assert_ends(p, 0)
      assert.matches('warning: conf/pilot.lua:1: job "app": env_file: "app.env" is "/%S+/conf/app.env", in the '
        .. "directory of the pilot.lua; there is another one in the working directory", p:stderr())
      assert.matches('warning: conf/pilot.lua:1: job "app": exec: "./say.sh" is "/', p:stderr())
      assert.matches("2 warnings", p:stdout())
    end)

    it("are told of by check and by the failure, where only those are there", function()
      local files = { ["conf/pilot.lua"] = OLD, ["app.env"] = "A=2", ["say.sh"] = SAY, ["conf/app.env"] = "A=1" }
      local hint = '"./say.sh" is there in the working directory, but relative paths are relative to the directory of'
      local p = luapilot(".", { "check", "conf/pilot.lua" }, files)
      story.assert_ends(p, 0)
      assert.is_truthy(p:stderr():find(hint, 1, true), p:stderr())
      p = luapilot(".", { "run", "conf/pilot.lua" }, files)
      story.assert_ends(p, 127)
      assert.is_truthy(p:stdout():find(hint, 1, true), p:stdout())
    end)
  end)
end)
