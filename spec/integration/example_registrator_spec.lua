-- The registrator example with a real Consul: with a server that plays Docker, and with a real Docker where one is.

local cjson   = require "cjson"
local example = require "support.example"
local machine = require "support.machine"
local room    = require "support.consul_room"
local run     = require "support.run"
local story   = require "support.story"
local web     = require "support.web"

-- /containers/json is the file "running", filtered by id as Docker does; /events is what is appended to the file
-- "events", until there is a file "closed".
local DOCKER = [==[
import http.server, json, os, socketserver, time, urllib.parse

class Docker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        filters = json.loads(urllib.parse.parse_qs(url.query).get("filters", ["{}"])[0])
        if url.path == "/events":
            self.follow(open("events"))
        elif url.path == "/containers/json":
            self.answer([each for each in json.load(open("running"))
                         if filters["label"][0] in each["Labels"] and each["Id"] in filters.get("id", [each["Id"]])])
        else:
            self.answer("OK")

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def follow(self, events):
        events.seek(0, os.SEEK_END)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        print("followed", flush=True)
        while not os.path.exists("closed"):
            text = events.read().encode()
            if text:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            time.sleep(0.02)
        self.wfile.write(b"0\r\n\r\n")

    def address_string(self):
        return "unix"

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

server = Server("docker.sock", Docker)
print("listening", flush=True)
server.serve_forever()
]==]

describe("the registrator example", machine.unless(room.lacking(), function()
  local p, docker

  setup(function() room.enter() end)
  teardown(room.leave)
  after_each(run.cleanup)

  local function start() p = example.run("registrator", { DOCKER_SOCKET = docker:path "docker.sock" }) end

  -- The container's services in the catalogue: { web = 8001 }.
  local function registered()
    local found = {}
    for name in pairs(room.agent:api("GET", "/v1/catalog/services")) do
      for _, each in ipairs(name ~= "consul" and room.agent:api("GET", "/v1/catalog/service/" .. name) or {}) do
        found[name] = each.ServicePort
      end
    end
    return found
  end

  local function wait_for(expected)
    docker:wait_for("the services " .. cjson.encode(expected), function()
      local found = registered()
      for name, port in pairs(expected) do
        if found[name] ~= port then return false end
        found[name] = nil
      end
      return next(found) == nil
    end)
  end

  local function stop()
    p:signal "SIGTERM"
    story.assert_ends(p, 0)
  end

  describe("with a server that plays Docker", machine.unless(machine.lacking "python3", function()
    local running

    before_each(function()
      running = {}
      docker = run.program({ "python3", "docker.py" }, {
        files = { ["docker.py"] = DOCKER, running = "[]", events = "" },
      })
      docker:wait_for_line "listening"
    end)

    local function tell(action, id)
      local list = {}
      for _, each in pairs(running) do list[#list + 1] = each end
      docker:write("running", #list > 0 and cjson.encode(list) or "[]")
      if not action then return end
      local file = assert(io.open(docker:path "events", "a"))
      file:write(cjson.encode { Type = "container", Action = action, Actor = { ID = id } }, "\n")
      file:close()
    end

    local function runs(name, port)
      running[name] = {
        Id = (name:byte() .. name):rep(20), Names = { "/" .. name }, Labels = { ["consul.service"] = name },
        Ports = { { IP = "127.0.0.1", PrivatePort = 80, PublicPort = port, Type = "tcp" } },
      }
      return running[name].Id
    end

    local function ends(name)
      local id = running[name].Id
      running[name] = nil
      return id
    end

    it("follows who starts and ends, and makes up for what it has not seen", function()
      runs("web", 8001)
      tell()
      start()
      wait_for { web = 8001 }
      tell("start", runs("api", 8002))
      wait_for { web = 8001, api = 8002 }
      tell("die", ends "web")
      wait_for { api = 8002 }

      docker:write("closed", "")                             -- Docker restarts; meanwhile one comes and one goes
      p:wait_for_line "Docker has closed its events"
      ends "api"
      runs("db", 8003)
      tell()
      os.remove(docker:path "closed")
      wait_for { db = 8003 }

      stop()
      assert.same({ db = 8003 }, registered())               -- containers outlive it
      ends "db"
      tell()
      start()
      wait_for {}
      stop()
    end)

    it("waits for a Consul that is away, and forgets nothing", function()
      start()
      docker:wait_for_line "followed"
      room.agent:pause()
      tell("start", runs("web", 8001))
      tell("start", runs("api", 8002))
      tell("die", ends "web")
      room.agent:resume()
      wait_for { api = 8002 }
      tell("die", ends "api")
      wait_for {}
      stop()
    end)
  end))

  describe("with Docker", function()
    local function start_docker()
      machine.need("dockerd", "docker")
      docker = run.program({ "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", [[
        export PATH=$PATH:/usr/sbin
        mount -t tmpfs tmpfs /run && exec dockerd --iptables=false --bridge=none --storage-driver=vfs \
          --data-root="$PWD/data" --exec-root=/run/docker --pidfile=/run/docker.pid -H "unix://$PWD/docker.sock"
      ]] })
      docker:wait_for("Docker's socket, or its end", function()
        return docker:output():find("API listen on", 1, true) or docker:ended()
      end)
      if docker:ended() then machine.skip "dockerd cannot be started here" end
    end

    local function call(script)
      local env = { DOCKER_HOST = "unix://" .. docker:path "docker.sock" }
      local client = run.program({ "sh", "-c", script }, { env = env })
      assert.message(client:output()).equal(0, client:wait())
    end

    local function run_container(name, port)
      call(([[docker run -d --name %s --net=host --label consul.service=%s --label consul.port=%d busybox \
        /busybox httpd -f -p 127.0.0.1:%d]]):format(name, name, port, port))
    end

    it("follows real containers", function()
      start_docker()
      call [[mkdir image && cp "$(command -v busybox)" image/busybox && tar -C image -c . | docker import - busybox]]
      run_container("web", 8001)
      start()
      wait_for { web = 8001 }
      run_container("api", 8002)
      wait_for { web = 8001, api = 8002 }
      docker:wait_for("an answer of the container", function() return web.get(8002):find "^HTTP/1" end)
      call "docker kill web"
      wait_for { api = 8002 }
      call "docker start web"
      wait_for { web = 8001, api = 8002 }
      stop()
      call "docker kill web api"
      start()
      wait_for {}
      stop()
    end)
  end)
end))
