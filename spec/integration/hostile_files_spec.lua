-- Files in a directory of somebody who is not to be trusted: a root pilot reads and writes there in every way that it
-- can, while the owner swaps names as fast as he can (spec/support/attacker.c). Root's own files stay as they are, and
-- nothing of them becomes readable.

local machine = require "support.machine"
local run     = require "support.run"

local SECONDS = 10
local WAYS = {
  "write", "large", "append", "render", "candidate", "trial", "owner", "root", "template", "log", "raw", "env", "read",
  "names",
}

local function output(argv)
  local p = run.program(argv)
  p:wait()
  return p:stdout()
end

local ROOT = output { "id", "-u" } == "0\n"
run.cleanup()

-- Each loop goes on until the pilot ends; what is refused is refused.
local PILOT = [[
  local pilot = require "luapilot"
  local D = pilot.env "D"
  local done, refused, leaked = {}, {}, 0

  local function file(way, name) return ("%s/%s/conf/%s"):format(D, way, name or "file0") end

  local function try(way, fn, ...)
    local ok, message = pcall(fn, ...)
    if ok then done[way] = (done[way] or 0) + 1 else refused[way] = (refused[way] or 0) + 1 end
    if not ok and tostring(message):find "task cancelled" then error(message, 0) end
    return ok and message
  end

  local function see(text)
    if text and text:find("VAULT-SECRET", 1, true) then leaked = leaked + 1 end
  end

  local function keep(way, fn)
    pilot.spawn(function()
      while true do
        try(way, fn)
        pilot.sleep "1ms"
      end
    end)
  end

  local large = ("x"):rep(3 * 1024 * 1024)
  keep("write", function() pilot.fs.write(file "write", "{}\n") end)
  keep("large", function() pilot.fs.write(file "large", large, { mode = "0600" }) end)
  keep("append", function() pilot.fs.append(file "append", "one more line\n") end)
  local n = 0
  local function data() n = n + 1 return { n = n } end
  local TEXT = "n = <%= n %>\n"
  keep("render", function() pilot.render { text = TEXT, data = data, to = file "render", mode = "0644" } end)
  keep("candidate", function()
    pilot.render { text = TEXT, data = data, to = file "candidate", validate = "test -e {file}" }
  end)
  keep("trial", function()
    pilot.render { text = TEXT, data = data, to = file "trial", validate = n % 2 == 0 and "true" or "false" }
  end)
  keep("owner", function()
    local text = n % 2 == 0 and TEXT or "same\n"
    pilot.render { text = text, data = data, to = file "owner", owner = "nobody", mode = "0644" }
  end)
  keep("root", function()
    pilot.render { text = "VAULT-SECRET <%= n %>\n", data = data, to = file "root", owner = "root:root", mode = "0640",
      validate = n % 2 == 0 and "true" or "false" }
  end)
  keep("read", function() see(pilot.fs.read(file "read")) end)
  keep("read", function() see(pilot.secret "word") end)
  keep("read", function()
    pilot.render { source = file "read", to = D .. "/own/out" }
    see(pilot.fs.read(D .. "/own/out"))
  end)
  keep("names", function()
    pilot.fs.exists(file("names", "file0"))
    try("names", pilot.fs.mkdir, file("names", "file0/new"))
    try("names", pilot.fs.rename, file("names", "file0"), file("names", "file1"))
    try("names", pilot.fs.remove, file("names", "file1"))
    try("names", pilot.fs.list, D .. "/names/conf")
    try("names", pilot.fs.glob, D .. "/names/*/file*")
    pilot.fs.write(file("names", "file2"), "x")
  end)

  local config = pilot.template(file "template") { text = TEXT, data = data, validate = "true" }
  keep("template", function() config:render() end)

  local OFTEN = { policy = "always", backoff = "1ms", max_backoff = "20ms", reset_after = "1h" }
  local talker = { exec = "echo INTRUDER", user = "nobody", restart = OFTEN }
  local function talks(name, log)
    local spec = { log = log }
    for key, value in pairs(talker) do spec[key] = value end
    pilot.job(name)(spec)
  end
  talks("logs", { file = file "log", prefix = false })
  talks("raw", { file = file "raw", mode = "raw" })
  pilot.job "env" { exec = pilot.sh 'case "$WORD" in VAULT*) echo "LEAKED by env";; esac', user = "nobody",
    env_file = file "env", restart = OFTEN }
  pilot.job "rotate" { exec = pilot.sh "kill -USR1 $LUAPILOT_PID; sleep 0.05", restart = OFTEN }
  for _, name in ipairs { "logs", "raw", "env" } do
    pilot.job(name):on("exit_success", function() done[name] = (done[name] or 0) + 1 end)
  end

  local attackers = {}
  for i = 1, 2 do
    attackers[i] = pilot.job("attacker" .. i) { user = "nobody", main = i == 1,
      exec = pilot.sh(pilot.env "ATTACK") }
  end
  pilot.on("shutdown", function()
    for way, count in pairs(done) do print(("done %s %d refused %d"):format(way, count, refused[way] or 0)) end
    print("leaked " .. leaked)
  end)
]]

-- What stands in the vault: names, owners, modes, sizes, times of change, and the contents.
local function inventory(p)
  return output { "sh", "-c", [[
    cd "$1" && find . -printf "%p %i %u %g %m %s %T@ %n\n" | LC_ALL=C sort && head -c 99 victim file*
  ]], "sh", p:path "vault" }
end

describe("a directory of somebody else", function()
  after_each(run.cleanup)

  it("cannot be used to read or write what is root's", function()
    if not ROOT then machine.skip "needs root" end
    local room = run.program({ "sh", "-ec", [[
      umask 022
      cc -D_GNU_SOURCE -O1 -o attacker "$1/spec/support/attacker.c"
      mkdir vault own
      for name in victim file0 file1 file2; do echo "WORD=VAULT-SECRET" >vault/$name; chmod 600 vault/$name; done
      shift
      for way in "$@"; do
        mkdir -p $way/conf
        for name in file0 file1 file2; do echo "A=mine" >$way/conf/$name; done
        chown -R nobody $way
      done
    ]], "sh", io.popen("pwd"):read "*l", unpack(WAYS) })
    assert.equal(0, room:wait(), room:output())
    local before = inventory(room)
    local words = { room:path "attacker", tostring(SECONDS), room:path "vault" }
    for _, way in ipairs(WAYS) do words[#words + 1] = room:path(way) end
    local p = run.pilot(PILOT, { env = {
      D = room:path "", ATTACK = "exec " .. table.concat(words, " "), WORD_FILE = room:path "read" .. "/conf/file1",
    } })
    assert.equal(0, p:wait(run.patience), p:output())
    assert.equal(before, inventory(room))
    local log = p:output()
    assert.is_nil(log:find("LEAKED", 1, true), log)
    assert.is_nil(log:find("read the vault", 1, true), log)
    assert.is_truthy(log:find "leaked 0", log)
    for _, swaps in log:gmatch "(attacker%d)[^\n]- (%d+) swaps" do assert.is_true(tonumber(swaps) > 0, log) end
    for _, way in ipairs { "write", "append", "read", "names" } do
      assert.is_truthy(log:find("done " .. way .. " [1-9]"), way .. "\n" .. log)
    end
    if os.getenv "SHOW" then print(log:gsub("[^\n]*rendered[^\n]*\n", "")) end
  end)
end)
