-- Files from templates on a real machine: mounts, links, full disks, nginx, and kill -9 at the worst moment.

local machine = require "support.machine"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

local ROOT = run.program({ "id", "-u" })
ROOT:wait()
ROOT = ROOT:stdout() == "0\n"
run.cleanup()

local function need_mounts()
  if not ROOT then machine.skip "only root can mount" end
  machine.need_mounts()
end

-- Runs a command in a mount namespace before the pilot.
local function after(command)
  return { "unshare", "--mount", "sh", "-c", command .. ' && exec "$0" "$@"' }
end

local HEAD = [[
  local pilot = require "luapilot"
  local function try(options)
    local ok, result = pcall(pilot.render, options)
    print("result: " .. tostring(result))
    return ok
  end
]]

-- Runs code in a task, then ends.
local function task(body, options)
  return run.pilot(HEAD .. "pilot.spawn(function() " .. body .. " end)", options)
end

-- The names in a directory, hidden ones too: "a b".
local function names(p, directory)
  local list = run.program({ "ls", "-A", p:path(directory or "") })
  list:wait()
  return (list:stdout():gsub("%s+$", ""):gsub("%s+", " "))
end

local function stat(p, name)
  local shown = run.program({ "stat", "-c", "%a %u %g", p:path(name) })
  shown:wait()
  return (shown:stdout():gsub("\n", ""))
end

describe("a render", function()
  after_each(run.cleanup)

  it("writes a file with its mode, and leaves nothing else", function()
    local p = task([[
      for _, port in ipairs { 80, 80 } do
        try { source = "app.tmpl", data = { port = port }, to = "conf/app.conf", mode = "0640" }
      end
    ]], { wrap = { "sh", "-c", 'mkdir conf && exec "$0" "$@"' }, files = { ["app.tmpl"] = "port <%= port %>\n" } })
    story.assert_ends(p, 0)
    story.assert_order(p, { "result: true", "result: false" })
    assert.equal("port 80\n", p:read "conf/app.conf")
    assert.equal("app.conf", names(p, "conf"))
    assert.matches("^640 ", stat(p, "conf/app.conf"))
  end)

  it("takes an owner by name, and keeps that of the old file", function()
    if not ROOT then machine.skip "only root can give files away" end
    local p = task([[
      try { text = "1", to = "app.conf", owner = "daemon:mail" }
      try { text = "2", to = "app.conf" }
      try { text = "3", to = "other", owner = "no-such-user" }
    ]])
    story.assert_ends(p, 0)
    assert.equal("2", p:read "app.conf")
    assert.equal("644 1 8", stat(p, "app.conf"))
    story.assert_lines(p, 1, 'owner: user "no%-such%-user" does not exist')
    assert.equal("", p:read "other")
  end)

  it("replaces what a link of root's leads to, and follows no stranger's", function()
    if not ROOT then machine.skip "only root can give links away" end
    local p = task([[
      try { text = "new", to = "link" }
      try { text = "new", to = "theirs" }
      try { text = "new", to = "nowhere" }
    ]], { wrap = { "sh", "-c", [[
      mkdir real && echo old >real/file && echo old >secret
      ln -s real/file link && ln -s gone nowhere && ln -s secret theirs && chown -h daemon theirs
      exec "$0" "$@"
    ]] } })
    story.assert_ends(p, 0)
    assert.equal("new", p:read "real/file")
    assert.equal("file", names(p, "real"))
    assert.equal("old\n", p:read "secret")
    story.assert_order(p, { "result: true", 'theirs"%) is a symbolic link of user 1, who does not own',
      "leads nowhere" })
  end)

  it("writes a bind-mounted file in place, and puts it back when it is refused", function()
    need_mounts()
    local p = task([[
      try { text = "new\n", to = "target" }
      try { text = "worse\n", to = "target", validate = "false" }
    ]], { wrap = after "touch target && mount --bind source target", files = { source = "old\n" } })
    story.assert_ends(p, 0)
    story.assert_order(p, { "result: true", "false refuses it %(exit code 1%)" })
    assert.equal("new\n", p:read "source")
    assert.equal("", p:read "target")
    assert.is_nil(names(p):find("luapilot-", 1, true))
  end)

  it("leaves the old file on a full disk, and nothing beside it", function()
    need_mounts()
    local p = task([[
      try { text = "<%= big %>", data = { big = ("x"):rep(200000) }, to = "disk/app.conf" }
      print("names: " .. pilot.exec("ls -A disk").stdout)
      print("content: " .. pilot.fs.read "disk/app.conf")
    ]], { wrap = after "mkdir disk && mount -t tmpfs -o size=64k tmpfs disk && echo old >disk/app.conf" })
    story.assert_ends(p, 0)
    story.assert_order(p, { 'cannot write ".*/disk/app.conf": no space left on device; the old file stays',
      "names: app.conf", "content: old" })
  end)

  it("does not fill a mount of its own in place with half a file", function()
    need_mounts()
    local p = task([[
      try { text = "<%= big %>", data = { big = ("x"):rep(200000) }, to = "target" }
      print("content: " .. pilot.fs.read "target")
    ]], { wrap = after [[mkdir disk && mount -t tmpfs -o size=64k tmpfs disk && echo old >disk/source &&
      touch target && mount --bind disk/source target]] })
    story.assert_ends(p, 0)
    story.assert_order(p, { "no space left on device", "content: old" })
    assert.is_nil(names(p):find("luapilot-", 1, true))
  end)

  it("says that a file system is read-only, or a directory missing", function()
    need_mounts()
    local p = task([[
      try { text = "new", to = "disk/app.conf" }
      try { text = "new", to = "gone/app.conf" }
      try { text = "new", to = "disk" }
    ]], { wrap = after [[mkdir disk && mount -t tmpfs tmpfs disk && echo old >disk/app.conf &&
      mount -o remount,ro disk]] })
    story.assert_ends(p, 0)
    story.assert_order(p, { 'disk/app.conf": the file system is read%-only',
      'gone/app.conf"%): its directory does not exist', 'disk" is a directory' })
  end)

  it("runs a validator on the candidate", function()
    local p = task([[
      try { text = "a\nb\n", to = "app.conf", validate = "grep -q c {file}" }
      try { text = "a\nc\n", to = "app.conf", validate = { "sh", "-c", "grep -q c $1", "sh", "{file}" } }
      try { text = "x", to = "app.conf", validate = "no-such-program {file}" }
    ]])
    story.assert_ends(p, 0)
    local refused = "grep %-q c {file} refuses it %(exit code 1%)"
    story.assert_order(p, { refused, "result: true", "no%-such%-program" })
    assert.equal("a\nc\n", p:read "app.conf")
    assert.is_nil(names(p):find("luapilot-", 1, true))
  end)
end)

describe("kill -9 between swap and verdict", function()
  after_each(run.cleanup)

  local function crash(p)
    p:wait_for("the new file", function() return p:read "app.conf" == "new" end)
    p:signal("SIGKILL", p:pilot())
    p:wait()
    assert.equal("new", p:read "app.conf")
  end

  local function start_again(p)
    local again = run.luapilot({ "pilot.lua" }, { directory = p.directory })
    again:wait_for_line "had never been accepted"
    return again
  end

  it("puts the old file back at the next start", function()
    local p = run.pilot(HEAD .. [[
      pilot.on("SIGUSR2", function() try { text = "new", to = "app.conf", validate = "sleep 100" } end)
      print "ready"
    ]], { files = { ["app.conf"] = "old" } })
    p:wait_for_line "ready"
    p:wait_for("the handler", function()
      p:signal "SIGUSR2"
      return p:read "app.conf" == "new"
    end)
    crash(p)
    local again = start_again(p)
    assert.equal("old", again:read "app.conf")
    assert.is_nil(names(p):find("luapilot-", 1, true))
    again:signal "SIGTERM"
    again:wait()
  end)

  it("removes what was the first, and a template renders it anew", function()
    local p = run.pilot [[
      local pilot = require "luapilot"
      local accept = pilot.fs.exists "accept"
      pilot.template "app.conf" { text = "new", validate = accept and "true" or "sleep 100" }
    ]]
    crash(p)
    p:write("accept", "")
    local again = start_again(p)
    story.assert_ends(again, 0)
    assert.equal("new", again:read "app.conf")
    assert.is_nil(names(p):find("luapilot-", 1, true))
  end)

  it("at any moment leaves a whole file that was accepted", function()
    local text = [[
      local pilot = require "luapilot"
      pilot.spawn(function()
        for n = 1, 1e6 do
          for validate, word in pairs { ["true"] = "good", ["false"] = "bad " } do
            local line = ("%07d %s\n"):format(n, word)
            local options = { text = "<%= text %>", data = { text = line:rep(3000) }, to = "app.conf" }
            options.validate = validate
            pcall(pilot.render, options)
          end
        end
      end)
    ]]
    local recover = [[
      local pilot = require "luapilot"
      local path = { to = "app.conf" }
      pilot.on("startup", function() end)
    ]]
    local p = run.pilot(text)
    for i = 1, 12 do
      p:wait_for("an accepted file", function()
        local number = tonumber(p:read "app.conf":match "^%d+")
        return number and (i > 1 or number > 1)
      end)
      local until_then = run.now() + 0.01 * i
      run.eventually("a moment", function() return run.now() > until_then end)
      p:signal("SIGKILL", p:pilot())
      p:wait()
      p:write("recover.lua", recover)
      local after_crash = run.luapilot({ "recover.lua" }, { directory = p.directory })
      after_crash:wait()
      local content = p:read "app.conf"
      local line = content:sub(1, 13)
      assert.matches("^%d+ good\n$", line, i .. " " .. names(p) .. after_crash:output())
      assert.equal(line:rep(3000), content)
      assert.is_nil(names(p):find("luapilot-", 1, true))
      p = run.luapilot({ "pilot.lua" }, { directory = p.directory })
    end
    p:signal "SIGTERM"
    p:wait()
  end)
end)

describe("nginx", function()
  after_each(run.cleanup)

  local CONF = [[
    worker_processes 1;
    pid nginx.pid;
    error_log stderr;
    events {}
    http { access_log off; include conf.d/*.conf; }
  ]]

  local function answer(port) return web.get(port):match "\r\n\r\n(.*)$" end

  it("never reads a file that nginx -t refuses", function()
    machine.need "nginx"
    local port = story.free_port()
    local p = run.pilot(([[
      local pilot = require "luapilot"
      local nginx = pilot.job "nginx" {
        exec = "nginx -p . -c nginx.conf -g 'daemon off;'", reload = "SIGHUP", stop_signal = "SIGQUIT",
        when = pilot.once "startup", health = { tcp = "127.0.0.1:%d", interval = "1s" },
      }
      local site = pilot.template "conf.d/site.conf" {
        source = "site.tmpl", data = function() return { port = %d, text = pilot.fs.read "text" } end,
        validate = { "nginx", "-t", "-q", "-p", ".", "-c", "nginx.conf" }, reload = nginx,
      }
      pilot.on("SIGUSR2", function()
        local ok, message = pcall(site.render, site)
        print("rendered: " .. tostring(ok) .. " " .. tostring(message))
      end)
    ]]):format(port, port), {
      wrap = { "sh", "-c", 'mkdir -p conf.d logs && exec "$0" "$@"' },
      files = {
        ["nginx.conf"] = CONF, text = "one",
        ["site.tmpl"] = "server { listen 127.0.0.1:<%= port %>; location / { return 200 '<%= text %>'; } }\n",
      },
    })
    p:wait_for_line 'job "nginx": is healthy'
    assert.equal("one", answer(port))

    p:write("text", "broken'; nonsense '")
    p:signal "SIGUSR2"
    assert.matches("false.*nginx %-t .* refuses it %(exit code 1%)", p:wait_for_line "rendered: ")
    assert.is_nil(p:read("conf.d/site.conf"):find "nonsense")
    assert.equal("site.conf", names(p, "conf.d"))

    p:write("text", "two")
    p:wait_for_line('rendered "conf.d/site.conf"', 2)         -- it is tried again by itself
    p:wait_for("the new answer", function() return answer(port) == "two" end)
    assert.equal(0, #p:lines "nginx: %[emerg%].*nonsense.*signal process")
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end)
end)
