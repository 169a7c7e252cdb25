-- The nginx-upstreams example with the real nginx and a real Consul: backends come and go while requests are made.

local example = require "support.example"
local machine = require "support.machine"
local room    = require "support.consul_room"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

local SECONDS = os.getenv "LOAD_SECONDS" or "30" -- of requests
local BACKENDS = 10

local NGINX_CONF = [[
worker_processes 1;
pid       /etc/nginx/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path /etc/nginx/tmp; proxy_temp_path /etc/nginx/tmp; fastcgi_temp_path /etc/nginx/tmp;
  uwsgi_temp_path /etc/nginx/tmp; scgi_temp_path /etc/nginx/tmp;
  include /etc/nginx/conf.d/*.conf;
  server {
    listen 80;
    location = /health { return 204; }
    location /         { proxy_pass http://app; }
  }
}
]]

local RELOADING = 'job "nginx": reloading signal=SIGHUP'

describe("the nginx-upstreams example", machine.unless(room.lacking() or machine.lacking("nginx", "ab"), function()
  local p, backends

  setup(function() room.enter() end)
  teardown(room.leave)

  before_each(function() backends = {} end)

  after_each(run.cleanup)

  local function start()
    p = example.run_image("nginx-upstreams", {}, {
      env = { PATH = os.getenv "PATH" .. ":/usr/sbin" },
      etc = {
        ["/etc/nginx/nginx.conf"] = NGINX_CONF, ["/etc/nginx/conf.d/app.conf"] = "",
      },
    })
  end

  -- --- backends ------------------------------------------------------------------------------

  -- In one transaction, so that others hear of all of them at once, however slow the machine is.
  local function change(coming, going)
    local steps = { { Node = { Verb = "set", Node = { Node = "elsewhere", Address = "127.0.0.1" } } } }
    local function step(verb, service)
      service.Service = "app"
      steps[#steps + 1] = { Service = { Verb = verb, Node = "elsewhere", Service = service } }
    end
    for name, place in pairs(coming) do step("set", { ID = name, Address = place.address, Port = place.port }) end
    for _, name in ipairs(going) do step("delete", { ID = name }) end
    room.agent:api("PUT", "/v1/txn", steps)
  end

  local function places(numbers)
    local list = {}
    for _, number in ipairs(numbers) do list["app-" .. number] = { address = "127.0.0.1", port = 9000 + number } end
    return list
  end

  local function names(numbers)
    local list = {}
    for i, number in ipairs(numbers) do list[i] = "app-" .. number end
    return list
  end

  -- A server that can be registered: it listens.
  local function come(number)
    local port = 9000 + number
    backends[number] = run.program({ "busybox", "httpd", "-f", "-p", "127.0.0.1:" .. port }, {
      files = { ["index.html"] = "backend " .. number .. "\n" },
    })
    backends[number]:wait_for("a backend that answers", function() return web.get(port):find "200 OK" end)
  end

  local function go(number)
    backends[number]:signal "SIGTERM"
    backends[number]:wait()
    backends[number] = nil
  end

  -- --- what nginx is told --------------------------------------------------------------------

  local function configuration()
    local file = io.open(("/proc/%d/root/etc/nginx/conf.d/app.conf"):format(p:pilot()))
    local text = file and file:read "*a" or ""
    if file then file:close() end
    return text
  end

  local function is_served(numbers)
    local wanted, text = {}, configuration()
    for number in pairs(numbers) do wanted["127.0.0.1:" .. 9000 + number] = true end
    for server in text:gmatch "server (%S+);" do
      if not wanted[server] then return false end
      wanted[server] = nil
    end
    return next(wanted) == nil
  end

  -- Numbers come and go; then nginx is told once.
  local function burst(coming, going)
    local reloads, stay = #p:lines(RELOADING), {}
    for _, number in ipairs(coming) do come(number) end
    for number in pairs(backends) do stay[number] = true end
    for _, number in ipairs(going) do stay[number] = nil end
    change(places(coming), names(going))
    p:wait_for_line(RELOADING, reloads + 1)
    assert.is_true(is_served(stay), configuration())
    assert.equal(reloads + 1, #p:lines(RELOADING))
    for _, number in ipairs(going) do go(number) end
  end

  -- What nginx refuses: it never reads it.
  local function break_it()
    local reloads, before = #p:lines(RELOADING), configuration()
    change({ ["app-broken"] = { address = "1::2::3", port = 1 } }, {})
    p:wait_for_line "emerg"
    p:wait_for("the old configuration", function() return configuration() == before end)
    assert.equal(reloads, #p:lines(RELOADING))
    change({}, { "app-broken" })
  end

  local function load()
    return run.program { "ab", "-q", "-r", "-l", "-c", "4", "-t", SECONDS, "-n", "10000000", "http://127.0.0.1/" }
  end

  it("follows backends that come and go under load, with one reload a burst, and loses no request", function()
    for number = 1, 3 do come(number) end
    change(places { 1, 2, 3 }, {}) -- before it starts: no reload is under way when the bursts begin
    start()
    p:wait_for_line 'job "nginx": is healthy'
    p:wait_for_line "registered"
    p:wait_for("all three", function() return is_served(backends) end)
    local requests, reloads, broken = load(), #p:lines(RELOADING), false

    local bursts, first = 0, 4
    repeat                                                   -- three come, then three others go
      local coming, going = {}, {}
      for number = first, first + 2 do coming[#coming + 1] = (number - 1) % BACKENDS + 1 end
      for number = first - 3, first - 1 do going[#going + 1] = (number - 1) % BACKENDS + 1 end
      burst(coming, {})
      burst({}, going)
      bursts, first = bursts + 2, first + 3
      if not broken then break_it() end
      broken = true
    until requests:ended()

    local report = requests:stdout()
    assert.message(report).equal("0", report:match "Failed requests: +(%d+)")
    assert.message(report).is_nil(report:match "Non%-2xx")
    assert.is_true(tonumber(report:match "Complete requests: +(%d+)") > 0)
    story.assert_lines(p, reloads + bursts, RELOADING)
    story.assert_lines(p, 1, 'job "nginx": started')

    p:signal "SIGTERM"
    story.assert_ends(p, 0)
    story.assert_order(p, { "nginx.*: registered", "shutting down", "nginx.*: deregistered", 'job "nginx": stopped' })
  end)
end))
