-- The recipes of docs/cookbook.md with the real programs: what the page shows is what is run, typed and looked for.

local book    = require "support.book"
local consul  = require "support.consul"
local machine = require "support.machine"
local network = require "support.network"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

local PILOT, SEE = "/etc/pilot.lua", "What to see"

describe("docs/cookbook.md:", machine.unless(network.lacking(), function()
  setup(network.enter)
  teardown(function()
    run.finish()
    network.leave()
  end)
  after_each(run.cleanup)

  -- docker stop: the code that the page promises.
  local function ends(p, code)
    p:signal("SIGTERM", p:guardian())
    story.assert_ends(p, code)
  end

  local function healthy(p, job) p:wait_for_line(('job "%s": is healthy'):format(job)) end

  local function check(recipe, code, change, env)
    local p = recipe:run { command = "check", change = { [PILOT] = change }, env = env }
    story.assert_ends(p, code)
    return p
  end

  -- docker stop, where the code depends on the moment.
  local function stops(p)
    p:signal("SIGTERM", p:guardian())
    p:wait()
  end

  -- Something that is done while requests are made, of which none may fail: ab runs for a second, again and again.
  local function under_load(options, act)
    local load = run.program { "sh", "-c", [[
      until [ -e over ]; do ab -q -l -c 4 -t 1 -n 10000000 "$@" || exit 1; done]], "ab", unpack(options) }
    act()
    load:write("over", "")
    assert.message(load:output()).equal(0, load:wait())
    local report, complete = load:output(), 0
    for failed in report:gmatch "Failed requests: +(%d+)" do assert.message(report).equal("0", failed) end
    for count in report:gmatch "Complete requests: +(%d+)" do complete = complete + tonumber(count) end
    assert.message(report).is_nil(report:match "Non%-2xx")
    assert.message(report).is_true(complete > 0)
  end

  describe("a web app with migrations", function()
    local recipe = book.recipe "A web app with migrations"
    local USER = "useradd --system migrate"

    local function need()
      machine.need("nsenter", "curl", "useradd", "runuser", "/usr/lib/postgresql/15/bin/postgres")
      if not machine.can "/usr/bin/python3 -c 'import psycopg2'" then machine.skip "no psycopg2" end
    end

    local function run_it(options)
      options = options or {}
      options.room = USER .. (options.room and " && " .. options.room or "")
      return recipe:run(options)
    end

    it("comes up in its order, and ends in the reverse one", function()
      need()
      local p = run_it()
      recipe:saw(p, SEE)
      recipe:try(p, SEE)
      ends(p, 0)
      story.assert_order(p, { 'migrate": waits for db', 'db": is healthy', 'roles": started',
        'roles": exited with code 0', 'migrate": started', 'migrate": exited with code 0', 'app": started',
        'app": is healthy', 'app": stopped', 'db": stopping', 'db": stopped', "ended code=0" })
      story.assert_lines(p, 0, "killed")
    end)

    it("gives nobody who breaks into the app more than the app", function()
      need()
      local p = run_it()
      healthy(p, "app")
      local function refused(options, question, why)
        local psql = "runuser -u www-data -- psql -h /run/postgresql %s -c '%s' app"
        local thief = book.enter(p, psql:format(options, question))
        assert.message(thief:output()).not_equal(0, thief:wait())
        assert.matches(why, thief:output())
      end
      local program = [[copy visits to program $$touch /run/postgresql/stolen$$]]
      refused("-U postgres", program, "Peer authentication failed")
      refused("-U migrate", "drop table visits", "Peer authentication failed")
      refused("", program, "must be superuser")
      refused("", "create table mine ()", "permission denied for schema public")
      assert.not_equal(0, book.enter(p, "test -e /run/postgresql/stolen"):wait())
      recipe:complains(p, "Peer authentication failed")
      ends(p, 0)
    end)

    it("follows as root no link that the database's user has made", function()
      need()
      local p = run_it { room = "ln -s /etc /var/lib/postgresql/data" }
      recipe:complains(p, "exists but is not empty")
      local owner = book.enter(p, "stat -c '%U %a' /etc")
      owner:wait()
      assert.equal("root 755\n", owner:stdout())
      stops(p)
    end)

    it("tells of a server that is started as a service", function()
      need()
      local p = run_it { change = { [PILOT] = { {
        [[bin .. "postgres", "-D", data, "-k", "/run/postgresql", "-c", "listen_addresses="]],
        [[bin .. "pg_ctl", "start", "-D", data, "-o", "-k /run/postgresql -c listen_addresses="]],
      } } } }
      recipe:complains(p, "has put itself into the background")
      ends(p, 0)
    end)

    it("ends with the code of a migration that fails", function()
      need()
      local p = run_it { files = { ["/srv/app/migrations/002-oops.sql"] = "create tabel oops ();\n" } }
      story.assert_ends(p, 1)
      recipe:complains(p, "the main job")
      story.assert_lines(p, 1, "applied")
      recipe:complains(check(recipe, 0, { { "main ", "-- " } }), "keeps the pilot alive")
    end)

    it("kills a server that waits for a client", function()
      need()
      local p = run_it { change = { [PILOT] = {
        { '"SIGINT"', '"SIGTERM"' }, { 'stop_timeout = "15s"', 'stop_timeout = "1s"' },
      } } }
      healthy(p, "app")
      local client = book.enter(p, [[
        exec runuser -u postgres -- psql -h /run/postgresql -c '\echo here' -c 'select pg_sleep(3600)']])
      client:wait_for_line "here"
      ends(p, 124)
      recipe:complains(p, "was cut short")
    end)
  end)

  describe("nginx with php-fpm", function()
    local recipe = book.recipe "nginx with php-fpm"
    local SLOW = {
      ["/srv/www/slow.php"] = "<?php error_log('begun'); while (!file_exists('/run/go')) usleep(1000); echo 'whole';",
    }

    local function need() machine.need("nginx", "php-fpm8.2", "nsenter", "curl", "ps") end

    it("answers, is reloaded, and finishes what it has begun", function()
      need()
      local p = recipe:run { files = SLOW }
      healthy(p, "nginx")
      recipe:try(p, SEE)
      recipe:saw(p, SEE)
      book.enter(p, "kill -HUP 1")
      p:wait_for_line "reloading: execvp"
      p:wait_for_line('php: .*ready to handle connections', 2)
      local request = book.enter(p, "curl -s http://127.0.0.1/slow.php")
      p:wait_for_line "PHP message: begun"
      p:signal("SIGTERM", p:guardian())
      p:wait_for_line 'job "nginx": stopping'
      assert.equal(0, book.enter(p, "touch /run/go"):wait())
      request:wait()
      assert.equal("whole", request:stdout())
      story.assert_ends(p, 0)
      story.assert_order(p, { 'php": is healthy', 'nginx": started', 'nginx": stopped', 'php": stopping',
        'php": stopped' })
    end)

    it("gives each of the two its time at the end, within that of the shutdown", function()
      local function seconds(path, pattern) return tonumber(recipe.files[path]:match(pattern)) end
      local php = seconds("/etc/php/fpm.conf", "process_control_timeout = (%d+)s")
      local nginx = seconds(PILOT, 'stop_timeout = "(%d+)s"')
      local all = seconds(PILOT, 'shutdown_timeout "(%d+)s"')
      assert.is_true(php < nginx)
      assert.is_true(php + nginx < all)
      check(recipe, 0)
    end)

    it("tells which of the two is in the background", function()
      need()
      local p = recipe:run { change = { [PILOT] = { { '"-g", "daemon off;", ', "" } } } }
      recipe:complains(p, 'job "nginx": …has put itself')
      stops(p)
      p = recipe:run { change = { [PILOT] = { { '"--nodaemonize", ', "" } } } }
      recipe:complains(p, "Another FPM instance")
      stops(p)
    end)

    it("is not healthy where nginx may not open the socket", function()
      need()
      local p = recipe:run { change = { ["/etc/php/fpm.conf"] = { { "listen.owner = www-data\n", "" } } } }
      recipe:complains(p, "Permission denied")
      recipe:complains(p, "HTTP 502")
      ends(p, 0)
    end)

    it("has no variables without clear_env = no", function()
      need()
      local p = recipe:run { change = { ["/etc/php/fpm.conf"] = { { "clear_env = no\n", "" } } } }
      healthy(p, "nginx")
      local answer = book.enter(p, "curl -s http://127.0.0.1/")
      answer:wait()
      assert.equal("no greeting\n", answer:stdout())
      ends(p, 0)
    end)
  end)

  describe("cron", function()
    local recipe = book.recipe "Cron"
    local ROOM = "mkdir /srv/data && touch /srv/data/a-file && chown -R www-data /srv/data"

    local function run_it()
      machine.need("nsenter", "tar", "runuser")
      local p = recipe:run { room = ROOM }
      p:wait_for("the pilot to hear signals", function() return #p:processes() >= 2 and p:pilot() end)
      return p
    end

    it("has a spec that passes", function()
      local p = recipe:run { command = "test", pilot = "/etc/pilot_spec.lua" }
      story.assert_ends(p, 0)
      story.assert_lines(p, 1, "^3 successes / 0 failures / 0 errors / 0 pending")
    end)

    it("runs by hand, and tells of a failure", function()
      local p = run_it()
      recipe:try(p, SEE)
      p:wait_for_line 'job "backup": exited with code 0'
      assert.equal(0, book.enter(p, "rm -r /srv/data && touch /srv/data"):wait())
      book.enter(p, "kill -USR2 1")
      recipe:saw(p, SEE)
      stops(p)
    end)

    it("follows no link of the app's, and shows nobody what only root may read", function()
      local p = run_it()
      book.enter(p, "echo precious >/etc/precious; echo secret >/srv/data/key; chmod 600 /srv/data/key"):wait()
      local link = "mkdir /srv/data/backups; ln -s /etc/precious /srv/data/backups/new"
      book.enter(p, ("runuser -u www-data -- sh -c '%s'"):format(link)):wait()
      book.enter(p, "kill -USR2 1")
      p:wait_for_line 'job "backup": exited with code 0'
      local seen = book.enter(p, "cat /etc/precious; tar -xzOf /srv/backups/*.gz ./key")
      seen:wait()
      assert.equal("precious\nsecret\n", seen:output())
      for _, act in ipairs { "cat /srv/backups/*.gz", "ln -s /etc/precious /srv/backups/new" } do
        local thief = book.enter(p, ("runuser -u www-data -- sh -c '%s'"):format(act))
        assert.not_equal(0, thief:wait())
        assert.matches("Permission denied", thief:output())
      end
      stops(p)
    end)

    it("says what is wrong in a line of a crontab", function()
      local pipe = { '{ "/srv/app/backup", "/srv/data" }', '"pg_dump app | gzip >/srv/app.gz"' }
      recipe:complains(check(recipe, 2, { pipe }), "is a pipe")
      recipe:complains(check(recipe, 2, { { "30 2 * * *", "30 2 * * * root" } }), "expected five fields")
      recipe:complains(check(recipe, 0, {}, { TZ = "Europe/Atlantis" }), "TZ=Europe/Atlantis")
    end)

    it("never runs twice at a time", function()
      local p = recipe:run {
        change = { [PILOT] = { { 'pilot.cron("30 2 * * *", { jitter = "10m" })', 'pilot.every "10ms"' } } },
        files = { ["/srv/app/backup"] = "#!/bin/sh\nexec sleep 3600\n" },
      }
      recipe:complains(p, "this one is skipped")
      ends(p, 0)
      story.assert_lines(p, 1, 'job "backup": started')
    end)
  end)

  describe("a pool of workers", function()
    local recipe = book.recipe "A pool of workers"
    local ROOM = "mkdir -p /srv/queue && chown www-data /srv/queue"

    local function need() machine.need("nsenter", "/usr/bin/python3") end

    local function give(p, name, seconds)
      book.enter(p, ("cd /srv/queue && echo %s >%s && mv %s %s.todo"):format(seconds, name, name, name)):wait()
    end

    it("takes work, and new workers take the places of old ones at the end of their work", function()
      need()
      local p = recipe:run { room = ROOM }
      recipe:try(p, SEE)
      recipe:saw(p, SEE)
      give(p, "last", "1")
      p:wait_for_line "begins last"
      ends(p, 0)
      story.assert_lines(p, 5, "begins")
      story.assert_lines(p, 5, "has done")
    end)

    -- One worker, which does not wait long before it comes again.
    local function one_worker()
      need()
      return recipe:run { room = ROOM, env = { WORKERS = "1" }, change = { [PILOT] = {
        { 'restart      = "always"', 'restart = { policy = "always", backoff = "10ms" }' },
      } } }
    end

    it("does again what a worker that was killed had begun", function()
      local p = one_worker()
      give(p, "long", "3600")
      p:wait_for_line "begins long"
      local pid = p:output():match 'job "worker%-1": started pid=(%d+)'
      assert.equal(0, book.enter(p, "echo 0 >/srv/queue/long+.worker-1 && kill -KILL " .. pid):wait())
      p:wait_for_line "was killed by SIGKILL"
      p:wait_for_line "has done long%+%+.worker%-1"
      ends(p, 0)
    end)

    it("gives up what ends three workers, and goes on", function()
      local p = one_worker()
      give(p, "5", "oops")
      recipe:complains(p, "gives up")
      give(p, "6", "0")
      p:wait_for_line "has done 6"
      assert.equal(0, book.enter(p, "test -e /srv/queue/5+++.failed"):wait())
      story.assert_lines(p, 3, "begins 5")
      ends(p, 0)
    end)

    it("is cut off where it is not given the time", function()
      need()
      local p = recipe:run { room = ROOM, change = { [PILOT] = { { '"30s"', '"1s"' } } } }
      give(p, "long", "3600")
      p:wait_for_line "begins long"
      ends(p, 124)
      recipe:complains(p, "was cut short")
      recipe:complains(check(recipe, 0, { { 'pilot.shutdown_timeout "35s"', "" } }), "more than a shutdown leaves it")
    end)

    it("says nothing until it ends where its lines are buffered", function()
      need()
      local p = recipe:run {
        room = ROOM, env = { PYTHONUNBUFFERED = false }, change = { [PILOT] = { { '"-u", ', "" } } },
      }
      give(p, "one", "0")
      p:wait_for("the work to be done", function()
        return book.enter(p, "ls /srv/queue/one*.done"):wait() == 0
      end)
      story.assert_lines(p, 0, "has done")
      ends(p, 0)
      story.assert_lines(p, 1, "has done")
    end)

    it("becomes smaller by a bound on restarts", function()
      need()
      local p = recipe:run { change = { [PILOT] = {
        { 'restart      = "always"', 'restart = { limit = 2, backoff = "10ms" }' }, { "worker.py", "nothing.py" },
      } } }
      recipe:complains(p, "restarts within")
      ends(p, 2)
    end)
  end)

  describe("blue and green", function()
    local recipe = book.recipe "Blue and green"
    local ROOM = "mkdir -p /srv/state"

    local function need() machine.need("nginx", "ab", "nsenter", "curl", "/usr/bin/python3") end

    it("change over and back under load, and lose no request", function()
      need()
      local p = recipe:run { room = ROOM }
      healthy(p, "nginx")
      under_load({ "http://127.0.0.1/" }, function()
        recipe:try(p, SEE)
        p:wait_for_line "changed over from=blue to=green"
        book.enter(p, "kill -USR2 1")
        p:wait_for_line "changed over from=green to=blue"
      end)
      recipe:saw(p, SEE)
      ends(p, 0)
      story.assert_order(p, { 'nginx": stopped', 'blue": stopping', 'blue": stopped' })
    end)

    it("stay as they are where the new one does not come up", function()
      need()
      local p = recipe:run { room = ROOM, change = {
        ["/srv/green/app"] = { { "import sys\n", "import sus\n" } }, [PILOT] = { { '"30s"', '"1s"' } },
      } }
      healthy(p, "nginx")
      book.enter(p, "kill -USR2 1")
      recipe:complains(p, "so blue stays")
      assert.matches("\nblue\n$", web.get(80))
      story.assert_lines(p, 0, "reloading")
      ends(p, 0)
    end)

    it("fail for a moment where the old one is stopped at once", function()
      need()
      local p = recipe:run { room = ROOM, change = { [PILOT] = { { 'nginx:reload()\n  pilot.sleep "5s"', "" } } } }
      healthy(p, "nginx")
      book.enter(p, "kill -USR2 1")
      p:wait_for_line 'job "blue": stopped'
      assert.matches("^HTTP/1.1 502 ", web.get(80))
      recipe:complains(p, "Connection refused")
      ends(p, 0)
    end)

    it("begin with the one that was live, also where somebody wrote it by hand", function()
      need()
      local p = recipe:run { room = ROOM .. " && echo green >/srv/state/live" }
      healthy(p, "nginx")
      assert.matches("\ngreen\n$", web.get(80))
      ends(p, 0)
      p = recipe:run { room = ROOM .. " && echo orange >/srv/state/live" }
      recipe:complains(p, "names neither")
      healthy(p, "nginx")
      assert.matches("\nblue\n$", web.get(80))
      ends(p, 0)
    end)

    it("say that there is no volume", function()
      need()
      local p = recipe:run()
      healthy(p, "nginx")
      book.enter(p, "kill -USR2 1")
      recipe:complains(p, "its directory does not exist")
      assert.matches("\nblue\n$", web.get(80))
      ends(p, 0)
    end)
  end)

  describe("graceful drain", machine.unless(consul.lacking(), function()
    local recipe = book.recipe "Graceful drain"
    local agent

    local function env(port)
      agent = agent or consul.start { port = 8500 }
      return { CONSUL_HTTP_ADDR = "127.0.0.1:8500", PORT = tostring(port) }
    end

    local function app(number, options)
      options = options or {}
      options.env = env(8000 + number)
      options.wrap = { "unshare", "--uts", "sh", "-c",
        ('echo app%d >/proc/sys/kernel/hostname && exec "$0" "$@"'):format(number) }
      local p = recipe:run(options)
      p:wait_for_line "registered"
      return p
    end

    local function proxy()
      local p = recipe:run { pilot = "/etc/front/pilot.lua", env = env(8000) }
      healthy(p, "nginx")
      return p
    end

    -- The master and one worker: those of the configuration before have gone.
    local function is_settled(p)
      local counted = book.enter(p, "pgrep -x -c nginx")
      counted:wait()
      return counted:stdout() == "2\n"
    end

    -- nginx itself, not only its file.
    local function serves(p, ...)
      local wanted = { ... }
      p:wait_for("nginx to ask " .. table.concat(wanted, " and "), function()
        local settled, seen, count = is_settled(p), {}, 0
        for _ = 1, 10 do
          local port = web.get(80):match "served at (%d+)" or "nobody"
          if not seen[port] then seen[port], count = true, count + 1 end
        end
        for _, port in ipairs(wanted) do settled = settled and seen[port] end
        return settled and count == #wanted
      end)
    end

    local function need() machine.need("nginx", "ab", "nsenter", "curl", "pgrep", "/usr/bin/python3") end

    it("loses no request, of those neither that are sent once only", function()
      need()
      local front, first, second = proxy(), app(1), app(2)
      serves(front, "8001", "8002")
      under_load({ "-p", "/dev/null", "http://127.0.0.1/" }, function()
        ends(first, 0)
        serves(front, "8002")
      end)
      recipe:try(front, SEE)
      story.assert_order(front, { 'rendered "/run/servers.conf"', "reloading signal=SIGHUP" })
      story.assert_order(first, { "is healthy", "registered", "SIGTERM: shutting down", '"app": stopping',
        "deregistered", '"app": draining for', '"app": stopped', "ended code=0" })
      ends(second, 0)
      ends(front, 0)
    end)

    it("loses what is at work without a drain", function()
      need()
      local front = proxy()
      local only = app(1, { change = {
        [PILOT] = { { 'drain        = "5s"', "drain = 0" } },
        ["/srv/app/server"] = { { "time.sleep(0.05)", 'print("at work", flush=True); time.sleep(3600)' } },
      } })
      serves(front, "8001")
      local request = book.enter(front, "curl -si -X POST http://127.0.0.1/")
      only:wait_for_line "at work"
      ends(only, 0)
      request:wait()
      assert.matches("^HTTP/1.1 502 ", request:stdout())
      recipe:complains(front, "upstream prematurely closed")
      ends(front, 0)
    end)

    local function register(id, address)
      local body = ('{"ID": "%s", "Name": "app", "Port": 80, "Address": "%s"}'):format(id, address)
      agent:api("PUT", "/v1/agent/service/register", body)
    end

    it("leaves out what is no address, and keeps what nginx knows where it refuses an entry", function()
      need()
      local front, first = proxy(), app(1)
      serves(front, "8001")
      register("evil", [[127.0.0.1:9; } server { listen 81; root /; } upstream zz { server 127.0.0.1]])
      recipe:complains(front, "left out")
      register("poison", "1::2::3")
      recipe:complains(front, "invalid IPv6")
      local seen = book.enter(front, "cat /run/servers.conf")
      seen:wait()
      assert.equal("server 127.0.0.2:8001;\n", seen:stdout())
      story.assert_lines(front, 0, 'job "nginx": exited')
      agent:api("PUT", "/v1/agent/service/deregister/evil")
      agent:api("PUT", "/v1/agent/service/deregister/poison")
      local second = app(2)
      serves(front, "8001", "8002")
      ends(first, 0)
      ends(second, 0)
      ends(front, 0)
    end)

    it("says before it happens that a drain is cut short", function()
      local long = { 'drain        = "5s"', 'drain = "30s"' }
      recipe:complains(check(recipe, 0, { long }), "it is cut short")
    end)

    it("takes an id of each app's own", function()
      need()
      local change = { [PILOT] = { { 'interval = "2s"', 'interval = "500ms"' } } }
      local first = recipe:run { env = env(8001), change = change }
      first:wait_for_line "registered"
      local second = recipe:run { env = env(8002), change = change }
      recipe:complains(first, "registered again")
      ends(first, 0)
      ends(second, 0)
    end)
  end))

  describe("JSON logs", function()
    local recipe = book.recipe "JSON logs"

    -- The log after a request, read by Python.
    local function read(options)
      machine.need("nginx", "nsenter", "curl", "/usr/bin/python3")
      local p = recipe:run(options)
      p:wait_for_line '"nginx","msg":"is healthy"'
      p:wait_for_line "somebody else"
      book.enter(p, [[curl -s -A '"x"' http://127.0.0.1/a]]):wait()
      p:wait_for_line '"nginx","stream"'
      local reader = run.program({ "sh", "-c", 'exec python3 "$0" <"$1"', "./worst", p:path "stdout" }, {
        files = { worst = recipe.files["/srv/app/worst"] },
      })
      assert.message(reader:output()).equal(0, reader:wait())
      return p, reader:stdout()
    end

    it("are objects, whoever wrote a line", function()
      local p, worst = read()
      recipe:saw(p, SEE)
      assert.equal("error app {'level': 'error', 'text': 'the disk is full', 'disk': '/dev/sdb', 'free': 0}\n", worst)
      ends(p, 0)
    end)

    it("have as text what only looks like JSON", function()
      local p = read { change = { ["/etc/nginx/site.conf"] = { { "escape=json ", "" } } } }
      recipe:complains(p, [["msg":"{\"method\"]])
      ends(p, 0)
    end)

    it("have as text what stands on several lines", function()
      local p = read { change = { ["/srv/app/app.py"] = { { "**fields})", "**fields}, indent=2)" } } } }
      recipe:complains(p, [["msg":"  \"level\": \"error\","]])
      ends(p, 0)
    end)

    it("are all info without level_from", function()
      local p, worst = read { change = { [PILOT] = { { ', level_from = "level"', "" } } } }
      recipe:complains(p, '"level":"info","job":"app","stream":"stdout","data":{"level": "error"')
      assert.equal("", worst)
      ends(p, 0)
    end)
  end)

  describe("not root, and read-only", function()
    local recipe = book.recipe "Not root, and read-only"

    -- What docker run makes of its options there.
    local ROOM = [[chmod %s /run && while read -r _ at _; do
        case $at in /proc* | /sys* | /dev* | /run) continue ;; esac
        if mountpoint -q "$at"; then mount -o remount,bind,ro "$at" || exit 1; fi  # what is covered is none here
      done </proc/self/mounts]]
    local USER = { "setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--bounding-set", "-all",
      "--inh-caps", "-all", "--no-new-privs" }

    local function run_it(change, mode)
      machine.need("nginx", "setpriv", "nsenter", "curl", "/usr/bin/python3")
      return recipe:run { room = ROOM:format(mode or "1777"), wrap = USER, change = change }
    end

    it("comes up, and can write nowhere else", function()
      local p = run_it()
      recipe:saw(p, SEE)
      recipe:try(p, SEE)
      ends(p, 0)
    end)

    it("says what takes root", function()
      local p = run_it { [PILOT] = { { 'exec    = "/srv', 'user = "www-data", exec = "/srv' } } }
      recipe:complains(p, "cannot take the groups")
      stops(p)
    end)

    it("says what cannot be written, and by whom", function()
      local p = run_it { ["/etc/nginx/site.conf.tmpl"] = { { "client_body_temp_path /run/nginx/body;", "" } } }
      recipe:complains(p, "Read-only file system")
      stops(p)
      p = run_it { [PILOT] = { { 'to = "/run/nginx/site.conf"', 'to = "/etc/nginx/site.conf"' } } }
      recipe:complains(p, "the file system is read-only")
      stops(p)
      p = run_it({}, "755")
      recipe:complains(p, "cannot make directory")
      stops(p)
    end)
  end)
end))
