-- What only the real port has: users, limits, control groups, descriptors, and the machine's own words.

local ffi = require "ffi"
local machine = require "support.machine"
local world = require "support.real_world"

ffi.cdef [[
  int dup(int fd);
  int dup2(int from, int to);
  int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data);
  int umount2(const char *target, int flags);
  int mkfifo(const char *path, unsigned mode);
  int link(const char *from, const char *to);
  unsigned umask(unsigned mask);
  long read(int fd, void *buffer, size_t size);
  int mkdir(const char *path, unsigned mode);
  int open(const char *path, int flags);
  void (*signal(int number, void (*handler)(int)))(int);
]]

local BOUND = 60
local port = world.port
local root = ffi.C.geteuid() == 0

describe("the real port", function()
  local started

  before_each(function() started = {} end)

  after_each(function()
    for _, id in ipairs(started) do port.cancel(id) end
    while world.next(0) do end
    world.close()
  end)

  -- --- helpers -----------------------------------------------------------------------------------

  local function need_root()
    if not root then machine.skip "needs root" end
  end

  local function keep(id, ...)
    if id then started[#started + 1] = id end
    return id, ...
  end

  local function spawn(argv, options)
    options = options or {}
    options.argv = type(argv) == "string" and { "/bin/sh", "-c", argv } or argv
    return keep(port.spawn(options))
  end

  local function wait_for(kind, id)
    local stop = port.now() + BOUND -- a flood of other events must not hide that it does not come
    while true do
      local event = port.now() < stop and world.next(BOUND)
      if not event then error("no " .. kind, 2) end
      if event.type == kind and event.id == id then return event end
    end
  end

  -- Runs a program to its end: what it said on stdout, its exit event, what it said on stderr.
  local function run(argv, options)
    options = options or {}
    options.capture = true
    local id = assert(spawn(argv, options))
    local parts, open, exit, gone = { stdout = {}, stderr = {} }, 2, nil, false
    while open > 0 or not gone do
      local event = assert(world.next(BOUND), "it does not end")
      if event.id == id and event.type == "output" then
        table.insert(parts[event.stream], event.data)
        if event.last then open = open - 1 end
      end
      if event.id == id and event.type == "exit" then exit = event end
      if event.id == id and event.type == "group_gone" then gone = true end
    end
    return table.concat(parts.stdout), exit, table.concat(parts.stderr)
  end

  -- A pilot of its own: Lua code in a fresh LuaJIT, with `rt` unless it is `bare`. What it prints.
  local function pilot(code, options)
    options = options or {}
    local begin = options.bare and "" or 'rt = require "luapilot.rt" '
    options.bare = nil
    options.env = port.environ()
    options.env.LUA_CPATH, options.env.LUA_PATH = package.cpath, package.path
    local output, exit, errors = run({ "luajit", "-e", begin .. code }, options)
    assert.equal(0, exit.code, errors)
    return output
  end

  local function fails(argv, options)
    local id, message, code, stage = spawn(argv, options)
    if options and options.user then -- it is under way first
      local event = wait_for("spawn_failed", id)
      return event.message, event.code, event.stage
    end
    assert.is_nil(id)
    return message, code, stage
  end

  local function write(name, text, mode)
    local path = world.path(name)
    world.write(path, text, mode)
    return path
  end

  local function directory(name)
    local path = world.path(name)
    assert.equal(0, ffi.C.mkdir(path, 493))
    return path
  end

  -- Plain data as Lua code.
  local function literal(value)
    if type(value) == "string" then return ("%q"):format(value) end
    if type(value) ~= "table" then return tostring(value) end
    local parts = {}
    for key, each in pairs(value) do parts[#parts + 1] = ("[%s] = %s"):format(literal(key), literal(each)) end
    return "{ " .. table.concat(parts, ", ") .. " }"
  end

  local EXECUTABLE = 493 -- 0755

  -- --- rights ------------------------------------------------------------------------------------

  describe("gives a process", function()
    it("its user, group and groups", function()
      need_root()
      local status = run("grep -E '^(Uid|Gid|Groups):' /proc/self/status", { user = "nobody" })
      assert.matches("Uid:%s65534%s65534%s65534%s65534\n", status)
      assert.matches("Gid:%s65534%s65534%s65534%s65534\n", status)
      assert.matches("Groups:%s65534%s*\n", status)
      status = run("grep -E '^(Uid|Gid|Groups):' /proc/self/status", { user = 1234, group = "daemon" })
      assert.matches("Uid:%s1234%s", status)
      assert.matches("Gid:%s1%s", status)
      assert.matches("Groups:%s1%s*\n", status)
      status = run("id -u; id -g", { user = "65534" })
      assert.equal("65534\n65534\n", status)
    end)

    it("an explanation when a number has no group", function()
      need_root()
      local message, code, stage = fails("true", { user = 1234 })
      assert.same({ "ENOENT", "user" }, { code, stage })
      assert.matches("give one", message)
    end)

    it("standard streams that its user can open by name", function()
      need_root()
      local output, exit, errors = run("cat /dev/stdin >/dev/stdout; echo e >/dev/stderr",
        { user = "nobody", stdin = "text" })
      assert.equal("", errors:gsub("^e\n$", ""))
      assert.equal("text", output)
      assert.equal(0, exit.code)
    end)

    it("its umask, no new privileges, an OOM score", function()
      need_root()
      assert.equal("0027\n", (run("umask", { umask = 23 })))
      assert.matches("NoNewPrivs:%s1", (run("grep NoNewPrivs /proc/self/status", { no_new_privs = true })))
      assert.equal("7\n", (run("cat /proc/self/oom_score_adj", { oom_score_adj = 7, user = "nobody" })))
    end)

    it("its limits", function()
      local limits = run("cat /proc/self/limits", { limits = { nofile = { 64, 128 }, core = { 0, -1 } } })
      assert.matches("Max open files%s+64%s+128", limits)
      assert.matches("Max core file size%s+0%s+unlimited", limits)
      assert.equal("4\n", (run("ulimit -n", { limits = { nofile = { 4, 4 } } }))) -- what a loader needs
    end)

    it("a reason when it may not have them", function()
      need_root()
      local output = pilot([[
        print(select(2, rt.spawn { argv = { "true" }, limits = { nofile = { 100, 200 } } }))
        rt.spawn { argv = { "true" }, user = "root" }
        print(rt.wait().message)
        print(select(2, rt.spawn { argv = { "true" }, oom_score_adj = -500 }))
        rt.spawn { argv = { "true" }, user = "nobody", group = "nogroup" }
        print(rt.wait().pid)
      ]], { user = "nobody", limits = { nofile = { 64, 64 } } })
      assert.matches("limit nofile = 100, 200: operation not permitted %(its hard limit here is 64", output)
      assert.matches("cannot take the groups of user \"root\" %(uid 0%): operation not permitted", output)
      assert.matches("oom_score_adj = %-500: permission denied", output)
      assert.matches("\n%d+\n$", output) -- who becomes what he is needs no privilege
    end)

    it("default dispositions and an empty mask, whatever the pilot has", function()
      port.signals { "SIGHUP", "SIGUSR1" } -- SIGPIPE is ignored since the port was opened
      local status = run({ "cat", "/proc/self/status" }, { env = {} })
      for _, name in ipairs { "SigBlk", "SigIgn", "SigCgt" } do
        assert.equal(("0"):rep(16), status:match(name .. ":%s(%x+)"))
      end
    end)

    it("default dispositions of what a library has ignored since the last start, as another user, too", function()
      local IGNORE, DEFAULT, WINCH = ffi.cast("void (*)(int)", 1), ffi.cast("void (*)(int)", 0), 28
      local function ignored(options)
        return (run({ "cat", "/proc/self/status" }, options):match "SigIgn:%s(%x+)")
      end
      assert.equal(("0"):rep(16), ignored())
      ffi.C.signal(WINCH, IGNORE)
      local found = { ignored(), root and ignored { user = "nobody" } or ignored() }
      ffi.C.signal(WINCH, DEFAULT)
      assert.same({ ("0"):rep(16), ("0"):rep(16) }, found)
    end)

    it("default dispositions whenever a script with FFI has ignored one, in a finaliser, too", function()
      local output = pilot [[
        local function show()
          local id = assert(rt.spawn { argv = { "cat", "/proc/self/status" }, capture = true })
          local event
          repeat event = rt.wait() until event.id == id and event.data and event.data ~= ""
          print(event.data:match "SigIgn:%s0*(%x+)")
        end
        assert(rt.contain { meter = { 5, 0 }, seconds = 1000 }) -- no code of the user's is known to run
        show()
        local ffi = require "ffi"
        ffi.cdef "void (*signal(int number, void (*handler)(int)))(int);"
        local function ignore(number) ffi.C.signal(number, ffi.cast("void (*)(int)", 1)) end
        show()
        ignore(10)
        show()
        ffi.gc(ffi.new "int[1]", function() ignore(28) end)
        collectgarbage()
        show()
      ]]
      assert.equal("0\n0\n0\n0\n", output)
    end)

    it("descriptors 0, 1 and 2 only", function()
      local kept = ffi.C.open("/dev/null", 0) -- not close-on-exec
      assert.is_true(ffi.C.dup2(kept, 500) == 500)
      local found = run [[
        i=3
        while [ $i -lt 600 ]; do
          [ -e /proc/$$/fd/$i ] && echo $i
          i=$((i+1))
        done]]
      ffi.C.close(kept)
      ffi.C.close(500)
      assert.equal("", found)
    end)

    it("a session and a group of its own", function()
      local id, pid = spawn("cut -d' ' -f1,5,6 /proc/$$/stat; exec sleep 1000", { capture = true })
      assert.equal(("%d %d %d\n"):format(pid, pid, pid), wait_for("output", id).data)
    end)

    it("ten megabytes of input", function()
      assert.equal("10000000\n", (run("wc -c", { stdin = ("0123456789"):rep(1000000) })))
    end)
  end)

  -- --- exec --------------------------------------------------------------------------------------

  describe("finds a program", function()
    it("on the job's own PATH, in order", function()
      local one, two = directory "one", directory "two"
      write("two/tool", "#!/bin/sh\necho two\n", EXECUTABLE)
      local env = { PATH = one .. ":" .. two .. ":/missing:/etc/passwd" }
      assert.equal("two\n", (run({ "tool" }, { env = env })))
      write("one/tool", "#!/bin/sh\necho one\n", 420) -- not executable: the search goes on
      assert.equal("two\n", (run({ "tool" }, { env = env })))
      write("one/tool", "#!/bin/sh\necho one\n", EXECUTABLE)
      assert.equal("one\n", (run({ "tool" }, { env = env })))
    end)

    it("on the default path when the job has no PATH", function()
      local _, exit = run({ "true" }, { env = {} })
      assert.equal(0, exit.code)
      assert.matches("on PATH %(/bin:/usr/bin%)", (fails({ "luapilot-missing" }, { env = {} })))
    end)

    it("relative to the job's directory", function()
      write("tool", "#!/bin/sh\necho here\n", EXECUTABLE)
      local cwd = world.path ""
      assert.equal("here\n", (run({ "./tool" }, { cwd = cwd })))
      assert.equal("here\n", (run({ "tool" }, { cwd = cwd, env = { PATH = "/missing:" } })))
      local _, code = fails({ "./tool" }, { cwd = "/" })
      assert.equal("ENOENT", code)
    end)

    it("or says what is wrong with it", function()
      local path = write("script", "#!/missing/interpreter -x\n", EXECUTABLE)
      assert.equal(('cannot run "%s": its interpreter "/missing/interpreter" does not exist'):format(path),
        (fails { path }))
      local plain = write("plain", "#!/bin/sh\n", 420)
      assert.equal(('cannot run "%s": permission denied: it is not executable (chmod +x)'):format(plain),
        (fails { plain }))
      local message, code = fails { "/tmp" }
      assert.same({ 'cannot run "/tmp": permission denied: it is a directory', "EACCES" }, { message, code })
      local text = write("text", "x", EXECUTABLE)
      assert.equal(('cannot run "%s": it has no #! line: a script begins with one, such as #!/bin/sh'):format(text),
        (fails { text }))
      assert.equal('cannot find program "noode" on PATH (/usr/bin:/bin)',
        (fails({ "noode" }, { env = { PATH = "/usr/bin:/bin" } })))
      assert.equal('cannot run "/missing/x": no such file or directory', (fails { "/missing/x" }))
      message, code = fails { plain .. "/x" }
      assert.same({ ('cannot run "%s/x": not a directory'):format(plain), "ENOTDIR" }, { message, code })
    end)

    it("but not for a user who may not see it", function()
      need_root()
      local closed = directory "closed"
      write("closed/tool", "#!/bin/sh\n", EXECUTABLE)
      ffi.C.chmod(world.path "", 493)
      ffi.C.chmod(closed, 448)
      local message, code = fails({ closed .. "/tool" }, { user = "nobody" })
      assert.equal("EACCES", code)
      assert.matches('permission denied for user "nobody" %(uid 65534%)', message)
      message, code = fails({ "luapilot-missing" }, { user = "nobody", env = { PATH = closed .. ":/bin" } })
      assert.equal("ENOENT", code)
      assert.matches("parts of which may not be searched", message)
      local _, stage
      message, _, stage = fails({ "true" }, { user = "nobody", cwd = closed })
      assert.equal("cwd", stage)
      assert.matches('permission denied for user "nobody"', message)
    end)
  end)

  -- Checks of the job fail for them, and anybody can write another job's mark into an environment.
  it("tells of no strays of other users", function()
    need_root()
    world.adopt()
    local options = { env_added = { LUAPILOT_JOB = "db" }, mark = "LUAPILOT_JOB=db" }
    local theirs = { env_added = options.env_added, mark = options.mark, user = 65534, group = 65534 }
    local LEAVES = "trap 'exit 0' USR1; "
      .. "setsid sh -c 'kill -USR1 $1; while test -d $0; do sleep 0.1; done' $0 $$ & while :; do sleep 0.05; done"
    wait_for("group_gone", (spawn({ "sh", "-c", LEAVES, world.path "" }, theirs)))
    local function strays(given)
      local id = spawn({ "sleep", "1000" }, given)
      if given.user then wait_for("spawned", id) end
      for _ = 1, BOUND * 50 do -- their environments are read meanwhile
        local list = port.strays(id)
        if list then return list end
        world.next(0.02)
      end
      error "they cannot be told"
    end
    assert.equal(1, #strays(theirs))
    assert.same({}, strays(options))
  end)

  it("tells of strays that were there before, or that it cannot know: it looks at sixteen orphans", function()
    world.adopt()
    local options = { env_added = { LUAPILOT_JOB = "crowd" }, mark = "LUAPILOT_JOB=crowd" }
    local LEAVES = "mkdir $1; for i in $(seq $2); do setsid sh -c 'touch $0/$1; while test -d $0; do sleep 0.1; done' "
      .. "$1 $i & done; until test $(ls $1 | wc -l) = $2; do sleep 0.05; done"
    local function leave(count)
      local path = world.path("strays-" .. count)
      wait_for("group_gone", (spawn { "sh", "-c", LEAVES, "sh", path, tostring(count) }))
    end
    leave(3)
    local id, list, message, code = (spawn({ "sleep", "1000" }, options))
    for _ = 1, BOUND * 50 do -- their environments are read meanwhile
      list = port.strays(id)
      if list then break end
      world.next(0.02)
    end
    assert.same({}, list)
    leave(17)
    list, message, code = port.strays((spawn({ "sleep", "1000" }, options)))
    assert.is_nil(list)
    assert.matches("^cannot tell who was there before", message)
    assert.equal("EAGAIN", code)
  end)

  -- --- what may not answer -----------------------------------------------------------------------

  describe("knows what may hang, and does not touch it:", function()
    local disk

    before_each(function() disk = nil end)

    local function is_under_way(options)
      disk = disk or world.dead_disk()
      local id, pid = assert(spawn(options.argv or { "true" }, options))
      if pid then return false end
      port.cancel(id)
      return true
    end

    it("the way there, by whatever names", function()
      disk = world.dead_disk()
      local near = directory "near"
      world.link(disk.path, near .. "/link")
      world.link("../near/./link", near .. "/second")
      world.link("third", near .. "/third")
      for _, path in ipairs { disk.path, disk.path .. "/x/..", near .. "/link", near .. "//second/x", "/proc/self/root"
        .. disk.path } do
        assert.is_true(is_under_way { cwd = path }, path)
      end
      for _, path in ipairs { near, near .. "/.", near .. "/../near", "/", "/proc" } do
        assert.is_false(is_under_way { cwd = path }, path)
      end
      local _, code = fails({ "true" }, { cwd = near .. "/third" })
      assert.equal("ELOOP", code)
    end)

    it("a program, each place where it is looked for, and its interpreter", function()
      disk = world.dead_disk()
      local near = directory "near"
      write("near/script", "#! " .. disk.path .. "/sh -e\n", EXECUTABLE)
      write("near/tool", "#!/bin/sh\n", EXECUTABLE)
      assert.is_true(is_under_way { argv = { disk.path .. "/tool" } })
      assert.is_true(is_under_way { argv = { "./tool" }, cwd = disk.path })
      assert.is_true(is_under_way { argv = { near .. "/script" } })
      assert.is_true(is_under_way { argv = { "tool" }, env = { PATH = disk.path .. ":" .. near } })
      assert.is_true(is_under_way { argv = { "tool" }, env_added = { PATH = "/missing:" .. disk.path } })
      assert.is_false(is_under_way { argv = { near .. "/tool" } })
      assert.is_false(is_under_way { argv = { "./tool" }, cwd = near })
      assert.is_false(is_under_way { argv = { "tool" }, env = { PATH = near .. ":" .. disk.path } })
      assert.is_false(is_under_way { argv = { "true" }, env = { PATH = "/bin:" .. disk.path } })
    end)

    it("what loads a program, and what comes on PATH after a file that may not be run", function()
      machine.need "cc"
      disk = world.dead_disk()
      local near = directory "near"
      write("near/main.c", "int main(void) { return 0; }")
      local function compile(more)
        assert(os.execute(("cd %s && cc main.c -o program %s"):format(near, more)) == 0)
      end
      compile ""
      assert.is_false(is_under_way { argv = { near .. "/program" } })
      compile("-Wl,--dynamic-linker=" .. disk.path .. "/loader")
      assert.is_true(is_under_way { argv = { near .. "/program" } })
      write("near/script", "#! " .. near .. "/program\n", EXECUTABLE)
      assert.is_true(is_under_way { argv = { near .. "/script" } })
      local path = { PATH = near .. ":" .. disk.path }
      write("near/tool", "#!/bin/sh\n", 420)
      assert.is_true(is_under_way { argv = { "tool" }, env = path })
      ffi.C.chmod(near .. "/tool", EXECUTABLE)
      assert.is_false(is_under_way { argv = { "tool" }, env = path })
      directory "near/folder"
      assert.is_true(is_under_way { argv = { "folder" }, env = path })
    end)

    it("what is not there where all may make something", function()
      disk = world.dead_disk()
      local near, shared = directory "near", directory "shared"
      ffi.C.chmod(shared, 1023) -- as /tmp
      for _, path in ipairs { shared .. "/missing", near .. "/../missing" } do
        assert.is_true(is_under_way { cwd = path }, path)
      end
      local _, code = fails({ "true" }, { cwd = near .. "/missing" })
      assert.equal("ENOENT", code)
    end)

    it("what somebody else may lead there at any moment", function()
      need_root()
      disk = world.dead_disk()
      local near, theirs = directory "near", directory "theirs"
      world.link(near, theirs .. "/link")
      assert.is_false(is_under_way { cwd = theirs .. "/link" })
      ffi.C.chmod(theirs, 511)
      assert.is_true(is_under_way { cwd = theirs .. "/link" })
      ffi.C.chmod(theirs, 493)
      world.own(theirs, 65534)
      assert.is_true(is_under_way { cwd = theirs .. "/link" })
    end)
  end)

  -- --- starts that are under way -----------------------------------------------------------------

  describe("of a start that is under way", function()
    local disk

    before_each(function() disk = nil end)

    -- Of all threads.
    local function children()
      local list, tasks = {}, ("/proc/%d/task"):format(port.pid())
      for _, task in ipairs(port.list(tasks, 1000)) do
        local text = port.read(("%s/%s/children"):format(tasks, task)) or ""
        for pid in text:gmatch "%d+" do list[#list + 1] = tonumber(pid) end
      end
      return list
    end

    -- "S", "T", "Z"; nil: there is no such process.
    local function state_of(pid)
      local stat = port.read(("/proc/%d/stat"):format(pid))
      return stat and stat:match "^.*%) (%a)"
    end

    -- The loop does not turn meanwhile.
    local function poll(what, ready)
      for _ = 1, BOUND * 50 do
        local found = ready()
        if found then return found end
        os.execute "sleep 0.02"
      end
      error(what)
    end

    local function begin(argv, options)
      options = options or {}
      disk = disk or world.dead_disk()
      options.cwd = options.cwd or disk.path
      local id, pid = assert(spawn(argv, options))
      assert.is_nil(pid)
      return id
    end

    -- Its child, which hangs where the start does.
    local function child_of(before)
      local known = {}
      for _, pid in ipairs(before) do known[pid] = true end
      return poll("no child", function()
        for _, pid in ipairs(children()) do
          if not known[pid] and state_of(pid) ~= "Z" then return pid end
        end
      end)
    end

    it("tells who stops it, and continues it", function()
      local before = children()
      local id = begin { "true" }
      local pid = child_of(before)
      os.execute("kill -STOP " .. pid)
      disk.answer()
      poll("it does not stop", function() return state_of(pid) == "T" end)
      os.execute "sleep 10" -- that is when it is told
      local event = wait_for("spawning", id)
      assert.equal("exec", event.stage)
      assert.equal("was stopped (SIGSTOP) by a process of its user, or of root", event.message)
      assert.equal(pid, wait_for("spawned", id).pid)
      assert.equal(0, wait_for("exit", id).code)
    end)

    it("nothing stays open when it fails", function()
      need_root()
      local function fails_late()
        local id = begin({ "true" }, { user = "nobody", cwd = world.path "missing" })
        assert.equal("cwd", wait_for("spawn_failed", id).stage)
      end
      local function open() return #port.list("/proc/self/fd", 100000) end
      fails_late()
      local before = open()
      for _ = 1, 5 do fails_late() end
      poll("it leaks", function() return open() <= before end) -- a thread may have the last word
    end)

    -- It is cancelled when its thread is done, and the loop has not heard of it: more than it hears in one turn comes
    -- before that, and a second is over, after which it looks at starts.
    it("nothing is said when it is cancelled at the very end", function()
      local id = begin { "true" }
      local others = {}
      for i = 1, 64 do
        local _, pid = assert(spawn { "true" })
        others[i] = pid
      end
      for _, pid in ipairs(others) do poll("no end", function() return state_of(pid) == "Z" end) end
      local function ended()
        local count = 0
        for _, pid in ipairs(children()) do count = count + (state_of(pid) == "Z" and 1 or 0) end
        return count
      end
      local before = ended()
      disk.answer()
      os.execute "sleep 1"
      poll("no start", function() return ended() > before end)
      assert.is_true(port.cancel(id))
      while true do
        local event = world.next(0.1)
        if not event then break end
        assert.are_not.equal(id, event.id)
      end
    end)
  end)

  -- --- descriptors -------------------------------------------------------------------------------

  describe("keeps its descriptors in order:", function()
    local COUNT = [[
      local function count() return #rt.list("/proc/self/fd", 100000) end
    ]]

    it("it leaks none where somebody else has taken an exit status", function()
      local output = pilot(COUNT .. [[
        local ffi = require "ffi"
        ffi.cdef "int waitpid(int, int *, int);"
        local function lose()
          local _, pid = rt.spawn { argv = { "true" } }
          ffi.C.waitpid(pid, nil, 0)
          local code, event
          repeat
            event = rt.wait()
            code = code or event.code
          until event.type == "group_gone"
          assert(code == 255)
        end
        lose()
        local before = count()
        for _ = 1, 5 do lose() end
        print(count() - before)
      ]])
      assert.matches("0\n$", output)
    end)

    it("it leaks none, whatever happens to a process", function()
      local output = pilot(COUNT .. [[
        local function once(i)
          local id = rt.spawn { argv = { "true" }, capture = true, notify = true, stdin = "x" }
          rt.spawn { argv = { "luapilot-missing" }, capture = true, notify = true, stdin = "x" }
          rt.spawn { argv = { "true" }, cwd = "/missing", output = { name = "x" } }
          local timer = rt.timer(10)
          if i % 2 == 0 then rt.cancel(id) end
          while true do
            local event = rt.wait(i % 2 == 1)
            if not event or event.type == "group_gone" then break end
          end
          rt.cancel(id)
          rt.cancel(timer)
        end
        once(1)
        local before = count()
        for i = 1, 40 do once(i) end
        for _ = 1, 600 do                     -- until the last of those that were cancelled is gone
          if count() <= before then break end -- the first may have had one more open when they were counted
          rt.timer(0.1)
          while rt.wait().type ~= "timer" do end
        end
        print(count() <= before or (before .. " " .. count()))
      ]])
      assert.equal("true\n", output)
    end)

    -- The first start is made another way than the others, and few descriptors another way than many.
    local MANY = [[
      local ffi = require "ffi"
      ffi.cdef "int dup(int);"
      local function fill() for _ = 1, 300 do assert(ffi.C.dup(0) >= 0) end end
      local function text_of(options)
        options.capture = true
        local id, text, left = assert(rt.spawn(options)), "", 3 -- two ends of output, and group_gone
        while left > 0 do
          local event = rt.wait()
          if event.id == id then
            text = text .. (event.data or "")
            if event.last or event.type == "group_gone" then left = left - 1 end
          end
        end
        return text
      end
    ]]

    it("no start takes one from us or from another process, or gives one to it", function()
      local log = world.path "log"
      local output = pilot(MANY .. ([[
        local log, list = %q, %q
        local function table_of(pid)
          os.execute("cd /proc/" .. pid .. "/fd && for fd in *; do echo $fd $(readlink $fd); done >" .. list)
          return rt.read(list)
        end
        local SHOW = "cat; cd /proc/$$/fd; for fd in *; do case $fd in [0-2]) readlink $fd | cut -c1-4;; " ..
          "*) readlink $fd;; esac; done"
        local sibling, pid = rt.spawn { argv = { "sleep", "1000" }, capture = true }
        local raw = { name = "a", raw = true, file = log }
        assert(rt.spawn { argv = { "true" }, output = raw })
        repeat local event = rt.wait() until event.type == "group_gone"
        local function round()
          local mine, its = table_of(rt.pid()), table_of(pid)
          for _ = 1, 3 do
            assert(not rt.spawn { argv = { "luapilot-missing" }, capture = true, stdin = "x" })
            assert(not rt.spawn { argv = { "true" }, cwd = "/missing", output = { name = "x" } })
            local text = text_of { argv = { "sh", "-c", SHOW }, stdin = "text " }
            if text ~= "text pipe\npipe\npipe\n" then error(text) end
            local id = assert(rt.spawn { argv = { "echo", "raw" }, output = raw })
            repeat local event = rt.wait() until event.type == "group_gone" and event.id == id
          end
          local now = table_of(rt.pid())
          if mine ~= now then error(mine .. "became\n" .. now) end
          assert(its == table_of(pid))
        end
        round()
        fill()
        round()
        rt.kill(sibling, "SIGTERM", "group")
        repeat local event = rt.wait() until event.type == "exit" and event.id == sibling
        print "well"
      ]]):format(log, world.path "list"))
      assert.equal("well\n", output)
      assert.equal(("raw\n"):rep(6), port.read(log))
    end)

    it("a process can open as many as its limit allows, in order, however many are open here", function()
      local output = pilot(MANY .. [[
        local OPEN = "local ffi = require 'ffi' ffi.cdef 'int dup(int);' local last " ..
          "repeat local fd = ffi.C.dup(0) last = fd >= 0 and fd or last until fd < 0 print(last)"
        local function highest()
          return text_of { argv = { "luajit", "-e", OPEN }, limits = { nofile = { 1024, 1024 } } }
        end
        local first = highest()
        fill()
        print(first, highest(), highest(), highest())
      ]])
      assert.equal("1023\n\t1023\n\t1023\n\t1023\n\n", output)
    end)

    it("without any left, a start fails cleanly and exits are still noticed", function()
      local output = pilot([[
        local ffi = require "ffi"
        ffi.cdef "int dup(int); int close(int);"
        local running = rt.spawn { argv = { "sleep", "1000" }, capture = true }
        local taken = {}
        while true do
          local fd = ffi.C.dup(1)
          if fd < 0 then break end
          taken[#taken + 1] = fd
        end
        for free = 0, 8 do
          local options = { argv = { "true" }, capture = true, notify = true, stdin = "x" }
          local id, message, code, stage = rt.spawn(options)
          if id then break end
          assert(code == "EMFILE" and stage == "descriptors", message)
          local left = ffi.C.dup(1)
          assert(free == 0 and left < 0 or left >= 0)
          if left >= 0 then ffi.C.close(left) end
          ffi.C.close(table.remove(taken))
          if free == 4 then
            rt.kill(running, "SIGTERM", "group")
            repeat local event = rt.wait() until event.type == "exit" and event.signal == "SIGTERM"
          end
        end
        for _, fd in ipairs(taken) do ffi.C.close(fd) end
        local id = assert(rt.spawn { argv = { "true" } })
        repeat local event = rt.wait() until event.type == "exit" and event.id == id
        print "well"
      ]], { limits = { nofile = { 40, 40 } } })
      assert.equal("well\n", output)
    end)

    -- Whatever a start needs: a user is looked up, a control group is made, a log file is opened …
    it("with a few left a start succeeds, or says that there are too few", function()
      local all = { argv = { "true" }, notify = true, stdin = "x", output = { name = "few", file = world.path "log" } }
      if root then all.user = 65534 end
      local group = { name = "probe", pids_max = 10 }
      if spawn("true", { cgroup = group }) then all.cgroup = group end
      local output = pilot(([[
        local ffi = require "ffi"
        ffi.cdef "int dup(int); int close(int);"
        local options = %s
        local taken = {}
        while true do
          local fd = ffi.C.dup(1)
          if fd < 0 then break end
          taken[#taken + 1] = fd
        end
        local refused = 0
        while true do
          local id, message, code = rt.spawn(options)
          local event = id and rt.wait()
          if id and event.type ~= "spawn_failed" then
            while not (event.type == "group_gone" and event.id == id) do event = rt.wait() end
            break
          end
          if id then message, code = event.message, event.code end
          assert(code == "EMFILE" and #taken > 0, ("with %%d free: %%s"):format(refused, message))
          refused = refused + 1
          ffi.C.close(table.remove(taken))
          while rt.wait(false) do end     -- its pipes are closed when their end was read
        end
        print(refused > 5 and "well" or refused)
      ]]):format(literal(all)), { limits = { nofile = { 60, 60 } } })
      assert.equal("well\n", output)
    end)

    it("it can be started with none of 0, 1 and 2", function()
      local path = world.path "out"
      pilot(([[
        local ffi = require "ffi"
        ffi.cdef "int execvp(const char *, const char *const[]); int close(int);"
        if not rt then return end
        local code = 'local rt = require "luapilot.rt" rt.spawn { argv = { "echo", "x" }, capture = true }' ..
          ' local event repeat event = rt.wait() until event.type == "output"' ..
          ' rt.put(rt.open(%q, "create"), event.data)'
        local argv = ffi.new("const char *[4]", { "luajit", "-e", code })
        for fd = 0, 2 do ffi.C.close(fd) end
        ffi.C.execvp("luajit", argv)
      ]]):format(path))
      assert.equal("x\n", port.read(path))
    end)
  end)

  -- --- other kernels ----------------------------------------------------------------------------

  -- Has the kernel refuse one system call to the pilot and to what it starts: seccomp(2).
  local REFUSE = [[
    local ffi = require "ffi"
    ffi.cdef "int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);"
    local function refuse(number, code)
      local filter = ffi.new("struct { uint16_t code; uint8_t yes, no; uint32_t k; }[4]", {
        { 0x20, 0, 0, 0 },                    -- load the number of the call
        { 0x15, 0, 1, number },               -- is it this one?
        { 0x06, 0, 0, 0x00050000 + code },    -- refuse it
        { 0x06, 0, 0, 0x7fff0000 },           -- allow it
      })
      local program = ffi.new("struct { uint16_t size; void *filter; }", 4, filter)
      assert(ffi.C.prctl(38, 1, 0, 0, 0) == 0)
      assert(ffi.C.prctl(22, 2, ffi.cast("unsigned long", ffi.cast("void *", program)), 0, 0) == 0)
    end
  ]]

  local OTHER_NUMBERS = ffi.arch ~= "x64" and "the numbers of system calls are those of x86-64"

  describe("on an older kernel", machine.unless(OTHER_NUMBERS, function()
    it("that cannot wait for a process by its descriptor, says so", function()
      local output = pilot(REFUSE .. [[
        refuse(247, 22) -- waitid: EINVAL
        print(select(2, pcall(require, "luapilot.rt")))
      ]], { bare = true })
      assert.matches("the runtime cannot start: .* %(Linux 5%.4 or later is needed%)", output)
    end)

    it("without close_range, gives a process descriptors 0, 1 and 2 only", function()
      local output = pilot(REFUSE .. [[
        refuse(436, 38) -- close_range: ENOSYS
        ffi.cdef "int open(const char *, int); int dup2(int, int);"
        assert(ffi.C.dup2(ffi.C.open("/dev/null", 0), 500) == 500)
        for _ = 1, 3 do
          rt.spawn { argv = { "sh", "-c", "ls /proc/$$/fd" }, capture = true }
          local event repeat event = rt.wait() until event.type == "output" and event.data ~= ""
          io.write(event.data)
        end
      ]])
      assert.equal(("0\n1\n2\n"):rep(3), output)
    end)
  end))

  -- --- where output goes -------------------------------------------------------------------------

  describe("lets output pass", function()
    it("raw, to its own stdout and stderr, or to a file", function()
      local log = world.path "log"
      local output = pilot(([[
        local argv = { "sh", "-c", "echo out; echo err >&2" }
        rt.spawn { argv = argv, output = { name = "a", raw = true } }
        rt.spawn { argv = { "echo", "file" }, output = { name = "b", raw = true, file = %q } }
        local gone = 0
        while gone < 2 do if rt.wait().type == "group_gone" then gone = gone + 1 end end
      ]]):format(log))
      assert.equal("out\n", output)
      assert.equal("file\n", port.read(log))
    end)

    it("as lines into a file", function()
      local log = world.path "log"
      local output = { name = "job", prefix = false, file = log }
      local id = assert(spawn("echo one; printf two", { output = output }))
      wait_for("group_gone", id)
      port.flush(1)
      assert.equal("one\ntwo\n", port.read(log))
    end)

    it("not into a file that cannot be opened", function()
      local message, code, stage = fails("true", { output = { name = "job", file = "/missing/log" } })
      assert.same({ 'log file: cannot open "/missing/log": no such file or directory', "ENOENT", "output" },
        { message, code, stage })
    end)
  end)

  -- --- control groups ----------------------------------------------------------------------------

  describe("with control groups", function()
    local function need_cgroup()
      need_root()
      local id, message, _, stage = spawn("true", { cgroup = { name = "probe", pids_max = 10 } })
      if not id and stage == "cgroup" then machine.skip(message) end
      wait_for("group_gone", id)
    end

    -- The directories of the luapilot groups that are there now.
    local function groups()
      return (run("find /sys/fs/cgroup -type d -name 'luapilot-" .. port.pid() .. "-*' | sort"))
    end

    it("limits memory, processor time and processes, and cleans up", function()
      need_cgroup()
      local id = assert(spawn("exec sleep 1000",
        { cgroup = { name = "we/b", memory_max = 64 * 1024 * 1024, cpu_max = 0.5, pids_max = 7 } }))
      local values = run("for d in $(find /sys/fs/cgroup -type d -name 'luapilot-" .. port.pid() .. "-we_b*')\n" ..
        "do cd $d; cat memory.max memory.limit_in_bytes cpu.max cpu.cfs_quota_us pids.max; done 2>/dev/null")
      assert.matches("67108864\n", values)
      assert.matches("50000[ \n]", values)
      assert.is_truthy(("\n" .. values):find("\n7\n", 1, true), values)
      port.kill(id, "SIGKILL", "group")
      wait_for("group_gone", id)
      assert.equal("", groups())
    end)

    it("holds the number of processes down", function()
      need_cgroup()
      local _, exit, errors = run("for i in 1 2 3 4 5 6; do sleep 0.2 & done; wait", {
        cgroup = { name = "few", pids_max = 3 } })
      assert.are_not.equal(0, exit.code)
      assert.matches("[Cc]annot fork", errors)
    end)

    it("two of the same name have a group each", function()
      need_cgroup()
      local one = assert(spawn("exec sleep 1000", { cgroup = { name = "twin", pids_max = 5 } }))
      local two = assert(spawn("exec sleep 1000", { cgroup = { name = "twin", pids_max = 5 } }))
      assert.matches("%-twin\n", groups())
      assert.matches("%-twin%-2\n", groups())
      for _, id in ipairs { one, two } do
        port.kill(id, "SIGKILL", "group")
        wait_for("group_gone", id)
      end
      assert.equal("", groups())
    end)

    it("counts what has left the process group, and reaches it", function()
      need_cgroup()
      local argv = world.program { exit = 0, grandchild = { setsid = true, ignores = { "SIGTERM" } } }
      local id = assert(spawn(argv, { cgroup = { name = "held", pids_max = 10 } }))
      wait_for("exit", id)
      local event = world.next(0.05)
      assert.is_nil(event)
      assert.is_true(port.kill(id, "SIGKILL", "group"))
      wait_for("group_gone", id)
      assert.equal("", groups())
    end)

    it("says which file refused, why, and what to do", function()
      need_cgroup()
      local output = pilot([[
        local cgroup = { name = "x", memory_max = 1e8 }
        local _, message, code, stage = rt.spawn { argv = { "true" }, cgroup = cgroup }
        print(stage, code, message)
      ]], { user = "nobody" })
      assert.matches("^cgroup\tE%u+\t", output)
      assert.matches('"/[^"]+"', output)
      assert.matches("as root, or delegate", output)
    end)
  end)

  -- --- readiness ---------------------------------------------------------------------------------

  describe("with the readiness protocol", function()
    it("ignores strangers, what is too long, and descriptors", function()
      local socket, go = world.path "socket", world.path "go"
      local script = ('echo "$NOTIFY_SOCKET" >%s; %s\nuntil test -e %s; do sleep 0.02; done; %s\nexec sleep 1000')
        :format(socket, world.notify_script { "READY=1" }, go, world.notify_script { "RELOADING=1" })
      local id = assert(spawn(script, { notify = true }))
      assert.same({ READY = "1" }, wait_for("notify", id).fields)
      local name = port.read(socket):gsub("\n$", "")
      -- it lives while its message is looked at: of a sender that is gone only the user is known
      local stranger = assert(spawn("export NOTIFY_SOCKET=" .. name .. "; " .. world.notify_script { "STOPPING=1" } ..
        "\necho sent; exec sleep 1000", { capture = true, user = root and "nobody" or nil }))
      assert.equal("sent\n", wait_for("output", stranger).data)
      write("go", "")
      assert.same({ RELOADING = "1" }, wait_for("notify", id).fields) -- the first that is heard after READY
      for _, each in ipairs { id, stranger } do
        port.kill(each, "SIGKILL", "group")
        wait_for("group_gone", each)
      end
    end)

    it("listens to every descendant in the session, and skips what is longer than a page", function()
      local script = world.notify_script { "A=" .. ("x"):rep(5000), "B=2" }
      local id = assert(spawn("( " .. script .. "\n)", { notify = true }))
      assert.same({ B = "2" }, wait_for("notify", id).fields)
      wait_for("group_gone", id)
    end)

    it("replaces a NOTIFY_SOCKET of the environment", function()
      local names = run("env | grep -c NOTIFY_SOCKET; echo $NOTIFY_SOCKET",
        { notify = true, env = { NOTIFY_SOCKET = "/run/other", PATH = port.environ().PATH } })
      assert.matches("^1\n@luapilot%-%x+\n$", names)
      names = run("env | grep -c NOTIFY_SOCKET; env | grep -c ^PATH=; echo $NOTIFY_SOCKET",
        { notify = true, env_added = { NOTIFY_SOCKET = "/run/other", PATH = port.environ().PATH } })
      assert.matches("^1\n1\n@luapilot%-%x+\n$", names)
    end)
  end)

  -- --- signals -----------------------------------------------------------------------------------

  it("knows real-time signals by name", function()
    local id = assert(spawn "exec sleep 1000")
    assert.is_true(port.kill(id, "SIGRTMIN+1", "leader"))
    assert.equal("SIGRTMIN+1", wait_for("exit", id).signal)
  end)

  it("tells who sent a signal", function()
    port.signals { "SIGUSR1" }
    local id, pid = assert(spawn(("exec kill -USR1 %d"):format(port.pid())))
    local event
    repeat event = assert(world.next(BOUND)) until event.type == "signal"
    assert.is_true(id and event.pid == pid or event.pid > 0)
  end)

  -- --- network -----------------------------------------------------------------------------------

  describe("on the network", function()
    it("connects to a name", function()
      local address = world.listener():gsub("127.0.0.1", "localhost")
      local id = port.connect(address, 10)
      assert.is_nil(wait_for("connected", id).error)
    end)

    it("says when a name cannot be resolved", function()
      local event = wait_for("connected", port.connect("luapilot-missing.invalid:80", 10))
      assert.is_truthy(event.code:find "^EAI_" or event.code == "ETIMEDOUT", event.code)
      assert.matches("^cannot resolve luapilot%-missing.invalid: ", event.error)
    end)

    it("never waits for a lookup that nobody wants any more", function()
      for _ = 1, 20 do assert.is_true(port.cancel(port.connect("luapilot-missing.invalid:80", 10))) end
      assert.is_nil(world.next(0.05))
    end)
  end)

  -- --- streams to servers ------------------------------------------------------------------------

  describe("to a unix socket", function()
    local function dial(path, timeout)
      local id = keep(port.dial { path = path, timeout = timeout or BOUND })
      return wait_for("connected", id), id
    end

    -- A socket that is listened on, at that path of at most 107 bytes.
    local function listen(path, backlog) return world.listen_unix(path, backlog) end

    it("comes through links that may be followed, and however long the path is", function()
      local path = world.path ""
      for _ = 1, 4 do
        path = path .. "/" .. ("x"):rep(200)
        assert(ffi.C.mkdir(path, 493) == 0)
      end
      local there = listen(world.path "app.sock")
      os.rename(there, path .. "/app.sock")
      assert.is_nil(dial(path .. "/app.sock").error)
      world.link(path, world.path "short")
      world.link("short/app.sock", world.path "link")
      assert.is_nil(dial(world.path "link").error)
    end)

    it("does not follow a stranger's link", function()
      need_root()
      local there = listen(world.path "app.sock")
      assert(ffi.C.mkdir(world.path "his", 493) == 0)
      world.own(world.path "his", 65534)
      world.link(there, world.path "his/app.sock", 65534)
      local event = dial(world.path "his/app.sock")
      assert.equal("ELOOP", event.code)
      assert.matches("his/app.sock", event.error)
    end)

    it("does not take a stranger's hard link for the socket that it is of", function()
      need_root()
      local there = listen(world.path "app.sock")
      assert(ffi.C.mkdir(world.path "his", 493) == 0)
      world.own(world.path "his", 65534)
      assert.equal(0, os.execute(("ln %s %s"):format(there, world.path "his/app.sock")))
      local event = dial(world.path "his/app.sock")
      assert.equal("EMLINK", event.code)
      assert.matches("^cannot connect to unix:/.*/his/app.sock: it has 2 names %(hard links%) in a directory that "
        .. "others may write into, and may be somebody else's$", event.error)
    end)

    it("says what is no socket, and what nobody listens on", function()
      write("file", "x")
      world.link("nowhere", world.path "link")
      local gone = listen(world.path "gone.sock")
      world.close_descriptors()
      for path, wanted in pairs {
        [world.path "file"] = { "ENOTSOCK", "cannot connect to unix:/.*/file: it is a file, and no socket" },
        [world.path ""] = { "ENOTSOCK", "it is a directory, and no socket" },
        ["/"] = { "ENOTSOCK", "it is a directory, and no socket" },
        ["/dev/null"] = { "ENOTSOCK", "it is a .*device, and no socket" },
        [world.path "link"] = { "ENOENT", "is a symbolic link that leads nowhere" },
        [world.path "file/x"] = { "ENOTDIR", "not a directory" },
        [gone] = { "ECONNREFUSED", "cannot connect to unix:/.*/gone.sock: connection refused" },
      } do
        local event = dial(path)
        assert.equal(wanted[1], event.code, path)
        assert.matches(wanted[2], event.error)
      end
    end)

    it("waits for a server whose queue is full, as long as it may", function()
      local path, fd = listen(world.path "app.sock", 0)
      assert.is_nil(dial(path).error) -- in the queue, which has room for one
      assert.equal("ETIMEDOUT", dial(path, 0.05).code)
      local id = keep(port.dial { path = path, timeout = BOUND })
      assert.is_nil(world.next(0.05))
      world.accept(fd)
      assert.is_nil(wait_for("connected", id).error)
    end)
  end)

  describe("with a stream", function()
    -- Sockets, and what holds the path of one; other specs may have left a pipe of theirs, or a lookup.
    local function open_descriptors()
      local pipe, count = io.popen("ls -l /proc/" .. port.pid() .. "/fd"), 0
      for line in pipe:lines() do count = count + (line:find "socket:" and 1 or line:find "%.sock" and 1 or 0) end
      pipe:close()
      return count
    end

    local function dial(address)
      local id = keep(port.dial { address = address, timeout = BOUND })
      assert.is_nil(wait_for("connected", id).error)
      return id
    end

    it("leaves no descriptor open, however it ends", function()
      local listener, refused = world.listener(), world.refused()
      local path = world.listen_unix(world.path "app.sock", 64)
      local before = open_descriptors()
      for _ = 1, 5 do -- nobody accepts: the queue has room for 16
        port.cancel(dial(listener))
        port.cancel(port.dial { address = listener })
        wait_for("connected", port.dial { address = refused })
        port.cancel(port.dial { path = path })
        wait_for("connected", port.dial { path = world.path "nobody" })
      end
      assert.equal(before, open_descriptors())
    end)

    it("gives it to no program that is started", function()
      dial(world.listener())
      assert.equal("0\n", (run "ls -l /proc/$$/fd | grep -c socket: || true"))
    end)

    it("says when its guard was collected, and not before", function()
      local id = dial(world.listener())
      local guard = port.guard(id)
      collectgarbage()
      assert.is_nil(world.next(0.01))
      assert.is_userdata(guard)
      guard = nil -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
      assert.same({ type = "ready", id = id, readable = false, writable = false, dropped = true }, world.next(BOUND))
      assert.is_userdata((port.guard(id)))
      assert.is_true(port.cancel(id))
      collectgarbage()
      collectgarbage()
      assert.is_nil(world.next(0.01))
    end)

    it("reaches a name, by whichever of its addresses answers", function()
      local id = dial((world.listener():gsub("127.0.0.1", "localhost")))
      assert.equal(1, port.send(id, "x", 1))
    end)
  end)

  -- --- descriptors of others ---------------------------------------------------------------------

  describe("with descriptors of others", function()
    it("refuses what is always ready", function()
      write("file", "x")
      local fd = ffi.C.open(world.path "file", 0)
      local _, _, code = port.poll(fd, "r")
      assert.equal("EPERM", code)
      ffi.C.close(fd)
    end)

    it("takes the same one twice", function()
      local pipe = world.pipe()
      local one, two = keep(port.poll(pipe.fd, "r")), keep(port.poll(pipe.fd, "r"))
      pipe.write "x"
      assert.is_true(wait_for("poll", one).readable)
      assert.is_true(wait_for("poll", two).readable)
    end)

    it("forgets one that was closed too early, though somebody else has it open, too", function()
      local pipe = world.pipe()
      local fd = ffi.C.dup(pipe.fd)
      local cancelled, forgotten = port.poll(fd, "r"), keep(port.poll(fd, "r"))
      ffi.C.close(fd)
      assert.is_true(port.cancel(cancelled))
      pipe.write "x"
      assert.is_true(wait_for("poll", forgotten).readable)
      assert.is_nil(world.next(0.05)) -- nobody is there to read it
    end)

    it("leaves alone what has got the number of one that was closed too early", function()
      local fd = ffi.C.dup(world.pipe().fd)
      local poll = keep(port.poll(fd, "r"))
      ffi.C.close(fd)
      local id = assert(spawn("sleep 0.1; echo heard", { capture = true }))
      port.cancel(poll)
      assert.equal("heard\n", wait_for("output", id).data)
    end)
  end)

  -- --- files -------------------------------------------------------------------------------------

  describe("with files", function()
    local function code_of(_, message, code)
      assert.is_string(message)
      return code, message
    end

    local function refused(code, message, ...)
      local found, said = code_of(...)
      assert.same({ code, message }, { found, said })
    end

    local function fifo(name)
      assert.equal(0, ffi.C.mkfifo(world.path(name), 384))
      return world.path(name)
    end

    local function socket(name)
      local path = world.path(name)
      local address = ffi.new("struct luapilot_spec_unix", { family = 1, path = path })
      local fd = ffi.C.socket(1, 1, 0)
      assert.equal(0, ffi.C.bind(fd, address, ffi.sizeof(address)))
      ffi.C.close(fd)
      return path
    end

    local function node(name, kind, major, minor)
      need_root()
      local path = world.path(name)
      local made = os.execute(("mknod %s %s %d %d 2>/dev/null"):format(path, kind, major, minor))
      if made ~= 0 then machine.skip "may not make device nodes" end
      return path
    end

    it("reads what says that it is empty", function()
      assert.matches("Name:%s", port.read "/proc/self/status")
      assert.equal("EFBIG", (code_of(port.read("/proc/self/status", 10))))
      local id, stat = port.open("/proc/self/status", "read")
      assert.equal(0, stat.size)
      assert.matches("^Name:%s", port.get(keep(id), 100000))
    end)

    it("leaks no descriptor, whatever is refused", function()
      local file, pipe = write("file", "x"), fifo "fifo"
      world.link("gone", world.path "dangling")
      world.link("loop", world.path "loop")
      local function try(path)
        for _, mode in ipairs { "read", "write", "append", "create" } do
          local id = port.open(path, mode)
          if id then port.cancel(id) end
        end
        local id = port.place(path)
        if id then port.cancel(id) end
        port.read(path, 0)
        port.stat(path)
        port.list(path, 0)
        port.list(path, 100000)
        port.rename(path, path .. "/x")
        port.rename(path .. "/x", path)
        port.mkdir(path, 448)
        port.logging { output = path }
      end
      local function round()
        for _, name in ipairs { "dangling", "loop", "gone/x", "" } do try(world.path(name)) end
        for _, path in ipairs { file, pipe, "/", "/dev/stdout", "/dev/null", file .. "/", "/proc/self/cwd",
                                "/proc/self/fd/0" } do
          try(path)
        end
        port.logging { output = "stdout" }
        return #port.list("/proc/self/fd", 100000)
      end
      local before = round()
      assert.equal(before, round())
    end)

    describe("never opens what is none:", function()
      local function is_refused(path, kind)
        local what = ("cannot %%s %q: it is %s, not a file"):format(path, kind)
        refused("EINVAL", what:format "read", port.read(path))
        refused("EINVAL", what:format "read", port.open(path, "read"))
        refused("EINVAL", what:format "write", port.open(path, "write"))
        refused("EINVAL", what:format "append to", port.open(path, "append"))
        refused("EEXIST", ("cannot open %q: file exists"):format(path), port.open(path, "create"))
        local id, name = port.place(path)
        keep(id)
        refused("EINVAL", ("cannot read %q: it is %s, not a file"):format(name, kind), port.open(name, "read", id))
        return ("cannot log to %q: it is %s, not a file"):format(path, kind)
      end

      it("a FIFO", function()
        local path = fifo "fifo"
        assert.equal("fifo", port.stat(path).type)
        is_refused(path, "a FIFO")
        refused("ENXIO", ("cannot log to %q: it is a FIFO that nobody reads"):format(path),
          port.logging { output = path })
      end)

      it("a socket", function()
        local path = socket "socket"
        assert.equal("socket", port.stat(path).type)
        refused("EINVAL", is_refused(path, "a socket"), port.logging { output = path })
        assert.is_true(port.remove(path))
      end)

      it("a character device", function()
        local path = node("null", "c", 1, 3)
        assert.equal("device", port.stat(path).type)
        is_refused(path, "a device")
        assert.is_true(port.logging { output = path }) -- a terminal is one
        port.log("info", "nobody sees this")
        assert.equal(0, port.flush(5))
        assert.is_true(port.logging { output = "stdout" })
      end)

      it("a block device", function()
        local path = node("disk", "b", 7, 250)
        assert.equal("device", port.stat(path).type)
        refused("EINVAL", is_refused(path, "a device"), port.logging { output = path })
      end)

      it("/dev/zero, whatever it is called", function()
        refused("EINVAL", 'cannot read "/dev/zero": it is a device, not a file', port.read "/dev/zero")
        world.link("/dev/zero", world.path "zero")
        refused("EINVAL", ('cannot read "%s": it is a device, not a file'):format(world.path "zero"),
          port.read(world.path "zero"))
      end)
    end)

    it("logs to a FIFO that has a reader", function()
      local path = fifo "fifo"
      local fd = ffi.C.open(path, 0x800) -- O_NONBLOCK
      assert.is_true(port.logging { output = path })
      port.log("info", "through the pipe")
      assert.equal(0, port.flush(5))
      local text = ffi.new "char[1000]"
      assert.matches("luapilot: through the pipe\n$", ffi.string(text, ffi.C.read(fd, text, 1000)))
      assert.is_true(port.logging { output = "stdout" })
      ffi.C.close(fd)
    end)

    it("makes directories and files with their modes, whatever the umask", function()
      local made, file = world.path "directory", world.path "file"
      local before = ffi.C.umask(511) -- nobody may anything
      port.mkdir(made, 1023) -- 01777
      local id, stat = port.open(file, "create")
      local after = ffi.C.umask(before)
      keep(id)
      assert.same({ 511, 1023, 0 }, { after, port.stat(made).mode, stat.mode }) -- a file is closed in any case
      assert.is_true(port.chmod(id, { mode = 438 }))
      assert.equal(438, port.stat(file).mode)
    end)

    it("sees relative paths from the working directory", function()
      local path = world.path ""
      assert.equal(path .. "\tfile\n" .. path .. "\tx\ntrue\n", (pilot([[
        local ffi = require "ffi"
        ffi.cdef "int chdir(const char *);"
        assert(ffi.C.chdir("]] .. path .. [[") == 0)
        local function show(id, name, directory) print(directory, name) end
        show(rt.place "file")
        show(rt.place "../]] .. path:match "[^/]*$" .. [[/./x")
        print(rt.stat(".").identity == rt.stat("]] .. path .. [[").identity)
      ]])))
    end)

    it("gives owners and set-user-ID bits", function()
      need_root()
      local file = write("file", "x")
      local id = keep(port.open(file, "read"))
      assert.is_true(port.chmod(id, { uid = 1234, mode = 2541 })) -- 04755
      assert.same({ 1234, 0, 2541 }, { port.stat(file).uid, port.stat(file).gid, port.stat(file).mode })
      assert.is_true(port.chmod(id, { gid = 4321 }))
      assert.same({ 1234, 4321, 493 }, { port.stat(file).uid, port.stat(file).gid, port.stat(file).mode })
    end)

    it("tells EBUSY, EROFS, ENOSPC and EXDEV apart", function()
      need_root()
      local mounted = directory "mounted"
      local done = ffi.C.mount("luapilot-spec", mounted, "tmpfs", 0, "size=8k")
      if done ~= 0 then machine.skip "may not mount" end
      finally(function() ffi.C.umount2(mounted, 2) end) -- MNT_DETACH
      local other = write("other", "x")
      local big = assert(port.open(mounted .. "/big", "create"))
      refused("ENOSPC", "cannot write: no space left on device", port.put(big, ("x"):rep(100000)))
      assert(port.remove(mounted .. "/big"))
      port.cancel(big)
      assert.equal("EXDEV", (code_of(port.rename(other, mounted .. "/x"))))
      assert.equal("EBUSY", (code_of(port.rename(mounted, world.path "elsewhere"))))
      assert.equal("EBUSY", (code_of(port.remove(mounted))))
      write("mounted/a", "a")
      assert.equal(0, ffi.C.mount("", mounted, "", 33, nil)) -- MS_REMOUNT | MS_RDONLY
      assert.equal("EROFS", (code_of(port.rename(mounted .. "/a", mounted .. "/b"))))
      assert.equal("EROFS", (code_of(port.open(mounted .. "/b", "create"))))
      assert.equal("EROFS", (code_of(port.open(mounted .. "/a", "append"))))
      assert.equal("EROFS", (code_of(port.remove(mounted .. "/a"))))
      assert.equal("EROFS", (code_of(port.mkdir(mounted .. "/b", 493))))
      assert.equal("a", port.read(mounted .. "/a"))
    end)

    it("says what a user may not reach", function()
      need_root()
      write("file", "x", 384)
      ffi.C.chmod(world.path "", 493)
      assert.equal(0, ffi.C.mkdir(world.path "closed", 448))
      local output = pilot(([[
        for _, path in ipairs { "%s/file", "%s/closed/x" } do print(select(2, rt.read(path))) end
        print(select(2, rt.open("%s/new", "create")))
        print(rt.user())
      ]]):gsub("%%s", world.path ""), { user = "nobody" })
      assert.equal(([[
cannot open "%s/file": permission denied	EACCES
cannot open "%s/closed/x": permission denied	EACCES
cannot open "%s/new": permission denied	EACCES
65534
]]):gsub("%%s", world.path ""), output)
    end)
  end)

  -- --- what /proc calls links --------------------------------------------------------------------

  describe("with links of /proc", function()
    local function log_to(path, options)
      return (pilot(([[
        assert(rt.logging { output = %q })
        rt.log("info", "logged")
        assert(rt.flush(5) == 0)
      ]]):format(path), options):gsub("^%S+ ", ""))
    end

    it("logs to its own stdout, be it a pipe or a file", function()
      for _, path in ipairs { "/dev/stdout", "/proc/self/fd/1", "/dev/fd/1" } do
        assert.equal("luapilot: logged\n", log_to(path))
      end
      local file = write("out", "before\n")
      local code = [[rt = require "luapilot.rt" assert(rt.logging { output = "/dev/stdout" }) rt.log("info", "logged")
        rt.flush(5)]]
      local env = port.environ()
      env.LUA_CPATH, env.LUA_PATH = package.cpath, package.path
      local _, exit, errors = run(([[luajit -e '%s' >>%s]]):format(code, file), { env = env })
      assert.equal(0, exit.code, errors)
      assert.matches("^before\n%S+ luapilot: logged\n$", port.read(file))
    end)

    it("knows that there is no file behind its stdout", function()
      assert.equal(table.concat {
        'cannot read "/dev/stdout": it is a FIFO, not a file\tEINVAL\n',
        'cannot append to "/proc/self/fd/1": it is a FIFO, not a file\tEINVAL\n',
        '"/dev/stdout" is a FIFO, not a file\tEINVAL\n',
        'cannot list "/dev/stdout": not a directory\tENOTDIR\n',
        'cannot open "/dev/stdout/": not a directory\tENOTDIR\n',
        'cannot make directory "/dev/stdout": file exists\tEEXIST\n',
        "link\n",
      }, (pilot [[
        local function said(_, ...) print(...) end
        said(rt.read "/dev/stdout")
        said(rt.open("/proc/self/fd/1", "append"))
        said(rt.place "/dev/stdout")
        said(rt.list("/dev/stdout", 1000))
        said(rt.stat "/dev/stdout/")
        said(rt.mkdir("/dev/stdout", 448))
        print(rt.stat("/proc/self/fd/1").type)
      ]]))
    end)

    it("reaches what is open, whatever has become of its name", function()
      local file = write("file", "text")
      local fd = ffi.C.open(file, 0)
      local path = "/proc/self/fd/" .. fd
      assert(port.remove(file))
      write("file", "another")
      assert.equal("text", port.read(path))
      assert.equal("text", port.get(keep(port.open(path, "read")), 10))
      local id = assert(keep(port.open(path, "append")))
      assert(port.put(id, "!"))
      assert.equal("text!", port.read(path))
      ffi.C.close(fd)
    end)

    it("reaches directories", function()
      write("file", "text")
      local fd = ffi.C.open(world.path "", 0)
      assert.equal("text", port.read(("/proc/self/fd/%d/file"):format(fd)))
      assert.same({ "file" }, port.list("/proc/self/fd/" .. fd, 9))
      assert.equal("EISDIR", select(3, port.place("/proc/self/fd/" .. fd)))
      ffi.C.close(fd)
    end)
  end)

  -- --- whose files -------------------------------------------------------------------------------

  describe("beside other users", function()
    local function shared(mode, owner)
      local path = directory "shared"
      ffi.C.chmod(path, mode)
      if owner then world.own(path, owner) end
      return path
    end

    local function second_name(path, other, owner)
      if owner then world.own(path, owner) end
      assert.equal(0, ffi.C.link(path, other))
      return other
    end

    local function opens(path)
      for _, mode in ipairs { "read", "write", "append" } do assert(keep(port.open(path, mode))) end
      assert.equal("text", port.read(path))
      assert.is_true(port.logging { output = path })
      assert.is_true(port.logging { output = "stdout" })
    end

    local function refuses(path)
      local why = ("%q: it has 2 names (hard links) in a directory that others may write into, and may be somebody " ..
        "else's file"):format(path)
      local function is_refused(verb, _, message, code)
        assert.same({ "cannot " .. verb .. " " .. why, "EMLINK" }, { message, code })
      end
      is_refused("read", port.open(path, "read"))
      is_refused("write", port.open(path, "write"))
      is_refused("append to", port.open(path, "append"))
      is_refused("read", port.read(path))
      is_refused("log to", port.logging { output = path })
    end

    it("takes no second name of a file where others make names", function()
      need_root()
      for _, mode in ipairs { 1023, 511, 509 } do -- 01777, 0777, 0775
        local path = second_name(write("kept", "text"), shared(mode) .. "/file")
        refuses(path)
        world.link("shared/file", world.path "link")
        assert.equal("EMLINK", select(3, port.read(world.path "link")))
        assert(port.remove(world.path "kept"))
        opens(path) -- it has one now
        assert(port.remove(path) and port.remove(world.path "shared") and port.remove(world.path "link"))
      end
    end)

    it("takes a second name where only root makes names", function()
      need_root()
      opens(second_name(write("kept", "text"), shared(493) .. "/file"))
      opens(second_name(write("his", "text"), world.path "shared/his", 1234))
    end)

    it("takes a second name in a user's directory of his own files only", function()
      need_root()
      local path = shared(448, 1234)
      refuses(second_name(write("kept", "text"), path .. "/kept"))
      refuses(second_name(write("others", "text"), path .. "/others", 4321))
      opens(second_name(write("his", "text"), path .. "/his", 1234))
    end)

    it("follows its own links and root's, as whomever it runs", function()
      need_root()
      ffi.C.chmod(world.path "", 493)
      write("file", "text", 420)
      for _, uid in ipairs { 0, 65534, 1234 } do world.link("file", world.path("link" .. uid), uid) end
      local output = pilot(([[
        for _, uid in ipairs { 0, 65534, 1234 } do
          local text, message = rt.read("%s/link" .. uid)
          print(text or message)
        end
      ]]):format(world.path ""), { user = "nobody" })
      assert.equal(('text\ntext\n"%s/link1234" is a symbolic link of user 1234, who does not own what it leads to ' ..
        '("%s/file"): it is not followed\n'):format(world.path "", world.path ""), output)
    end)

    it("keeps the old log when the path has come to lead astray", function()
      need_root()
      local log = world.path "log"
      local output = pilot(([[
        local log = %q
        assert(rt.logging { output = log })
        os.rename(log, log .. ".old")
        os.execute("ln -s /etc/passwd " .. log .. " && chown -h 1234 " .. log)
        rt.reopen()
        rt.log("info", "goes on")
        rt.flush(5)
      ]]):format(log))
      assert.equal("", output)
      assert.matches('error: "[^"]+/log" is a symbolic link of user 1234, who does not own what it leads to ' ..
        '%("/etc/passwd"%): it is not followed; still using the old file\n%S+ luapilot: goes on\n$',
        port.read(log .. ".old"))
    end)

    it("starts no job whose log leads astray", function()
      need_root()
      world.link("/etc/passwd", world.path "log", 1234)
      local message, code, stage = fails("true", { output = { name = "job", file = world.path "log" } })
      assert.same({ "ELOOP", "output" }, { code, stage })
      assert.matches('^log file: "[^"]+/log" is a symbolic link of user 1234, who does not own', message)
    end)
  end)
end)
