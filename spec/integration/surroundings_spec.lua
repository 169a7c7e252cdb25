-- What a program finds when it starts: its standard descriptors, by name as well, and what it is told of its user. And
-- what is said of one that cannot be run.

local ffi = require "ffi"
local machine = require "support.machine"
local run = require "support.run"
local story = require "support.story"

ffi.cdef "unsigned geteuid(void);"

local ROOT = ffi.C.geteuid() == 0
local NOT_ROOT = not ROOT and "only root can become somebody else"

describe("a program finds", function()
  after_each(run.cleanup)

  local function pilot(text, options) return run.pilot('local pilot = require "luapilot"\n' .. text, options) end

  it("/dev/null as stdout and stderr, where its output is discarded", function()
    local p = pilot [[
      local find = pilot.sh "to=$(readlink /proc/$$/fd/1); echo $to >$OUT; echo said; echo said >&2"
      pilot.job "job" { exec = find, log = "none", env = { OUT = "job.out" } }
      pilot.job "task" { run = function()
        local result = pilot.exec(find, { log = "none", env = { OUT = "exec.out" } })
        print(("%q %q"):format(result.stdout, result.stderr))
      end }
    ]]
    assert.equal(0, p:wait())
    story.assert_lines(p, 0, "said")
    story.assert_lines(p, 1, 'luapilot: "" ""')
    assert.equal("/dev/null\n", p:read "job.out")
    assert.equal("/dev/null\n", p:read "exec.out")
  end)

  it("in pilot.exec what its options say", function()
    if NOT_ROOT then machine.skip(NOT_ROOT) end
    local p = pilot [[
      pilot.job "task" { run = function()
        local show = pilot.sh "id -g; umask; ulimit -n; grep NoNewPrivs /proc/self/status; echo to stderr >&2"
        local result = pilot.exec(show, { group = 12345, umask = "0027", limits = { nofile = 77 }, no_new_privs = true,
          log = { as = "shown", level = "warn" } })
        print((result.stdout .. result.stderr):gsub("%s+", " "))
      end }
    ]]
    assert.equal(0, p:wait())
    story.assert_lines(p, 1, "luapilot: 12345 0027 77 NoNewPrivs: 1 to stderr ")
    story.assert_lines(p, 1, "shown: 12345$")
    story.assert_lines(p, 1, "shown: to stderr$")
  end)

  it("in a check the environment of its own, beside the job's", function()
    local p = pilot [[
      local app = pilot.job "app" { exec = "sleep 1000", env = { A = "job", B = "job" }, health = {
        exec = pilot.sh "echo $A $B", env = { B = "check" } } }
      app:on("healthy", function(event)
        print(event.output)
        pilot.shutdown()
      end)
    ]]
    assert.equal(0, p:wait())
    story.assert_lines(p, 1, "luapilot: job check$")
  end)

  describe("the account of its user:", machine.unless(NOT_ROOT, function()
    local SHOW = [["echo $HOME:$USER:$LOGNAME:$SHELL"]]

    it("HOME, USER, LOGNAME, and a shell that lets it in", function()
      local p = pilot(([[
        pilot.job "games" { exec = pilot.sh %s, user = "games" }
        pilot.job "root" { exec = pilot.sh %s, user = "root" }
      ]]):format(SHOW, SHOW), { env = { HOME = "/pilots", USER = "pilot", LOGNAME = "pilot", SHELL = "/pilots/shell" },
        wrap = { "unshare", "--mount", "sh", "-c", 'mount --bind passwd /etc/passwd && exec "$0" "$@"' },
        files = { passwd = "root:x:0:0:root:/root:/bin/sh\ngames:x:5:60:games:/usr/games:/usr/sbin/nologin\n" } })
      assert.equal(0, p:wait())
      story.assert_lines(p, 1, "games: /usr/games:games:games:$")
      story.assert_lines(p, 1, "root: /root:root:root:/bin/sh$")
    end)

    it("what the job says itself, and nothing of the pilot's user without an account", function()
      local p = pilot(([[
        pilot.job "told" { exec = pilot.sh %s, user = "nobody", env = { HOME = "/srv", SHELL = "/bin/false" } }
        pilot.job "number" { exec = pilot.sh %s, user = 12345, group = 12345 }
        pilot.job "group" { exec = pilot.sh %s, group = 12345 }
      ]]):format(SHOW, SHOW, SHOW), { env = { HOME = "/pilots", USER = "pilot", LOGNAME = "pilot", SHELL = "/x" } })
      assert.equal(0, p:wait())
      story.assert_lines(p, 1, "told: /srv:nobody:nobody:/bin/false$")
      story.assert_lines(p, 1, "number: /:::$")
      story.assert_lines(p, 1, "group: /pilots:pilot:pilot:/x$")
    end)
  end))

  it("the standard input of the container, if it asks for that", function()
    local reading, writing = run.pipe()
    run.write(writing, "first\nsecond\n")
    run.close(writing)
    local p = pilot([[ pilot.job "app" { exec = "cat", stdin = "inherit" } ]], { stdin = reading })
    run.close(reading)
    assert.equal(0, p:wait())
    story.assert_lines(p, 1, "app: second$")
  end)

  it("a standard input that never ends, if it asks for that", function()
    local p = pilot [[
      local app = pilot.job "app" { exec = pilot.sh "read line; echo ended", stdin = "open", stop_timeout = "1h" }
      local other = pilot.job "other" { exec = pilot.sh "read line; echo ended" }
      app:on("stopped", function() print "app was stopped" end)
    ]]
    p:wait_for_line "other: ended"
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_lines(p, 0, "app: ended")
    story.assert_lines(p, 1, "app was stopped")
  end)

  it("/dev/stdout by its name, whoever it is or becomes", function()
    if NOT_ROOT then machine.skip(NOT_ROOT) end
    machine.need "setpriv"
    local p = pilot([[
      local function says(name) return "echo " .. name .. " > /dev/stdout; echo " .. name .. " > /dev/stderr" end
      local function drops(name) return { "setpriv", "--reuid=1", "--clear-groups", "sh", "-c", says(name) } end
      pilot.job "lines" { exec = pilot.sh(says "one"), user = "nobody" }
      pilot.job "drops" { exec = drops "two" }
      pilot.job "raw" { exec = pilot.sh(says "three"), user = "nobody", log = "raw" }
      pilot.job "both" { exec = drops "four", log = "raw" }
    ]], { wrap = { "sh", "-c", '"$0" "$@" 2>&1 | cat >piped' } })
    p:wait()
    local text = p:read "piped"
    for name, line in pairs { lines = "lines: one", drops = "drops: two", raw = "three", both = "four" } do
      assert.equal(2, select(2, ("\n" .. text):gsub("[\n ]" .. line .. "%f[\n]", "")), name .. "\n" .. text)
    end
  end)
end)

-- --- programs that cannot be run --------------------------------------------------------------------

-- A copy of /bin/true in which bytes were changed: at an offset, or instead of the name of its loader.
local function damaged(change)
  local file = assert(io.open("/bin/true", "rb"))
  local text = file:read "*a"
  file:close()
  return change(text)
end

local TRUE = damaged(function(text) return text end)
local LOADER = TRUE:match "/lib[%w_/.-]*/ld%-linux[%w_.-]*"
local OTHER = 243                    -- RISC-V, of which this machine is none (see `mine`)
local mine = TRUE:byte(19) + 256 * TRUE:byte(20)
local FOREIGN = mine == OTHER and "aarch64" or "riscv64"

local function other_machine()
  local number = mine == OTHER and 183 or OTHER
  return damaged(function(text) return text:sub(1, 18) .. string.char(number % 256, 0) .. text:sub(21) end)
end

-- name → { content, what is said }; `mode` is 755.
local CASES = {
  windows = { "#!/bin/sh\r\necho hi\r\n", [[its interpreter "/bin/sh\r" does not exist: the script was saved with ]]
    .. [[Windows line ends (sed -i 's/\r$//' on it)]] },
  missing = { "#!/missing/sh -e\n", 'its interpreter "/missing/sh" does not exist' },
  plain_interpreter = { "#!./plain\n", 'its interpreter "./plain" is not executable (chmod +x)' },
  directory_interpreter = { "#! /tmp\n", 'its interpreter "/tmp" is a directory' },
  text_interpreter = { "#!./text\n", 'its interpreter "./text" is not a program for this machine' },
  foreign_interpreter = { "#!./foreign\n",
    ('its interpreter "./foreign" is built for %s, and this machine is '):format(FOREIGN) },
  loaderless_interpreter = { "#!./loaderless\n",
    'its interpreter "./loaderless" is there, but what shall load it is not' },
  text = { "echo hi\n", "it has no #! line: a script begins with one, such as #!/bin/sh" },
  empty = { "", "it is empty" },
  binary = { "\1\0\2", "it is not a program for this machine" },
  foreign = { other_machine(), ("it is built for %s, and this machine is "):format(FOREIGN) },
  damaged = { TRUE:sub(1, 64), "it is damaged" },
  plain = { "#!/bin/sh\n", "permission denied: it is not executable (chmod +x)", mode = "644" },
}

if LOADER then
  local wrong = LOADER:sub(1, -2) .. "X"
  CASES.loaderless = { damaged(function(text)
    local first, last = text:find(LOADER, 1, true)
    return text:sub(1, first - 1) .. wrong .. text:sub(last + 1)
  end), ('the dynamic loader "%s" that it names does not exist (it was built for another system or C library)')
    :format(wrong) }
else
  CASES.loaderless_interpreter = nil
end

describe("a program that cannot be run", function()
  after_each(run.cleanup)

  it("is told with what is wrong with it", function()
    local files, jobs, modes = {}, { 'local pilot = require "luapilot"' }, {}
    for name, case in pairs(CASES) do
      files[name] = case[1]
      modes[#modes + 1] = ("chmod %s %s"):format(case.mode or "755", name)
      jobs[#jobs + 1] = ("pilot.job %q { exec = { %q } }"):format(name:gsub("_", "-"), "./" .. name)
    end
    local p = run.pilot(table.concat(jobs, "\n"), {
      files = files, wrap = { "sh", "-c", table.concat(modes, "; ") .. '; exec "$0" "$@"' },
    })
    p:wait()
    local output = p:output()
    for name, case in pairs(CASES) do
      local line = ('job %q: cannot run "%s" (written "./%s"): %s'):format(name:gsub("_", "-"), p:path(name), name,
        case[2])
      assert.is_truthy(output:find(line, 1, true), line .. "\n" .. output)
    end
  end)

  it("because of a mount is told so: the script's, or its interpreter's", function()
    if not ROOT then machine.skip "only root can mount" end
    machine.need_mounts()
    local p = run.pilot([[
      local pilot = require "luapilot"
      pilot.job "script" { exec = { "./closed/script" } }
      pilot.job "interpreter" { exec = { "./script" } }
    ]], { files = { script = "#!./closed/sh\n" }, wrap = { "unshare", "--mount", "sh", "-c", [[
      mkdir closed && mount -t tmpfs -o noexec tmpfs closed && cp /bin/sh closed/sh && chmod +x script &&
        printf '#!/bin/sh\n' >closed/script && chmod +x closed/script && exec "$0" "$@"
    ]] } })
    p:wait()
    local why = " is on a file system that is mounted noexec"
    story.assert_lines(p, 1, '%(written "./closed/script"%): permission denied: it' .. why)
    story.assert_lines(p, 1, '%(written "./script"%): its interpreter "./closed/sh"' .. why)
  end)
end)
