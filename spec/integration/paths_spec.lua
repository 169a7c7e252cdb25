-- Relative paths with the real kernel: the same file, named from several directories.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"

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

-- The files are there, may be run, and the command is given in `directory`, after `prepare`, a line of sh.
local function luapilot(directory, words, files, prepare)
  local list = {}
  for name, text in pairs(files or FILES) do list[name:gsub("/", "+")] = text end
  local command = { run.binary }
  for i, word in ipairs(words) do command[i + 1] = word end
  return run.program(command, { files = list, wrap = { "sh", "-c", [[
    for file in *+*; do to=$(echo "$file" | tr + /); mkdir -p "$(dirname "$to")" && mv "$file" "$to"; done
    find . -name "*.sh" -exec chmod +x {} +; mkdir -p ]] .. directory .. " && cd " .. directory .. [[ &&
    ]] .. (prepare or ":") .. [[ && exec "$0" "$@"]] } })
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

  it("keep their meaning when a script changes the working directory", function()
    local words = "return %q"
    local p = luapilot(".", { "run", "conf/pilot.lua" }, {
      ["conf/pilot.lua"] = [[
        local pilot, ffi = require "luapilot", require "ffi"
        ffi.cdef "int chdir(const char *);"
        assert(ffi.C.chdir "other" == 0)
        local name = "late"
        print("require", require(name))
        print("dofile", dofile(name .. "r.lua"))
        print("fs", pilot.fs.read "a.txt")
        pilot.job "app" { exec = "./say.sh", env_file = "app.env" }
        pilot.after("10ms", function() print("then", require "latest", select(2, pcall(dofile, "wrong.lua"))) end)
      ]],
      ["conf/late.lua"] = words:format "right", ["conf/later.lua"] = words:format "right", ["conf/a.txt"] = "right",
      ["conf/app.env"] = "A=1", ["conf/say.sh"] = SAY, ["conf/latest.lua"] = words:format "right",
      ["conf/wrong.lua"] = "error 'oh'",
      ["other/conf/late.lua"] = words:format "wrong", ["other/conf/later.lua"] = words:format "wrong",
      ["other/conf/a.txt"] = "wrong", ["other/conf/app.env"] = "A=2", ["other/conf/latest.lua"] = words:format "wrong",
    })
    story.assert_ends(p, 0)
    for _, what in ipairs { "require", "dofile", "fs" } do
      story.assert_lines(p, 1, "luapilot: " .. what .. "\tright")
    end
    story.assert_lines(p, 1, "luapilot: then\tright\tconf/wrong.lua:1: oh")
    story.assert_lines(p, 1, "app: said by say.sh in other with 1")
  end)

  describe("of a file that is named by a link", function()
    local function in_etc(words, prepare)
      local files = { ["srv/app/pilot.lua"] = PILOT }
      for name, text in pairs(FILES) do
        if name ~= "conf/pilot.lua" then files[name:gsub("^conf", "etc")] = text end
      end
      return luapilot(".", words, files, "ln -s ../srv/app/pilot.lua etc/pilot.lua" .. (prepare or ""))
    end

    it("are those of the link's directory", function()
      local p = in_etc { "run", "etc/pilot.lua" }
      assert_all_said(p)
      assert.equal("made\n", p:read "etc/made.txt")
    end)

    it("also where $LUAPILOT names it, whole or not", function()
      assert_all_said(in_etc({ "run" }, " && export LUAPILOT=etc/pilot.lua"))
      assert_all_said(in_etc({ "run" }, ' && export LUAPILOT="$PWD/etc/pilot.lua"'))
    end)
  end)

  -- A root pilot whose file lies in a directory of nobody's.
  describe("in a directory of another user", function()
    local function of_nobody(prepare, pilot)
      if io.popen("id -u"):read "*l" ~= "0" then machine.skip "needs root" end
      return luapilot(".", { "run", "conf/pilot.lua" }, {
        ["conf/pilot.lua"] = 'local pilot = require "luapilot"\n' .. pilot, ["own/secret"] = "A=hidden",
        ["own/m.lua"] = "return 'hidden'", ["own/pilot.lua"] = "print 'hidden'",
      }, prepare .. " && chown -R -h nobody conf")
    end

    local function assert_refused(p, where)
      assert.is_not.equal(0, p:wait())
      local said = p:stdout() .. p:stderr()
      assert.matches(where .. ".* is a symbolic link of user 65534, who does not own what it leads to", said)
      assert.is_nil(said:find("hidden", 1, true))
    end

    it("a link of that user's to a file of root's is neither a module nor the file itself", function()
      assert_refused(of_nobody("ln -s ../own/m.lua conf/m.lua", 'print(require "m")'), "m.lua")
      assert_refused(of_nobody("ln -s ../own/m.lua conf/m.lua", 'local name = "m" print(require(name))'), "m.lua")
      assert_refused(of_nobody("ln -s ../own/m.lua conf/m.lua", 'dofile "m.lua"'), "m.lua")
      assert_refused(of_nobody("ln -sf ../own/pilot.lua conf/pilot.lua", ""), "pilot.lua")
    end)

    it("nor an env_file or what pilot.fs reads", function()
      local link = "ln -s ../own/secret conf/a"
      assert_refused(of_nobody(link, 'pilot.job "a" { exec = "env", env_file = "a" }'), "conf/a")
      assert_refused(of_nobody(link, 'print(pilot.fs.read "a")'), "conf/a")
    end)

    it("that user's own files are read", function()
      local p = of_nobody("echo 'return [[theirs]]' > conf/m.lua", 'pilot.job "a" { exec = "echo " .. require "m" }')
      story.assert_ends(p, 0)
      story.assert_lines(p, 1, "a: theirs")
    end)
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
