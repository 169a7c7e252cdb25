-- HTTP in the built program: what it costs before it is used, certificates, sockets, proxies, many at once.

local machine = require "support.machine"
local run = require "support.run"
local story = require "support.story"
local web = require "support.web"

-- A task in a pilot of its own; `tell(name, …)` prints what a call comes to.
local PRELUDE = story.TELL_VALUES .. [[
local pilot = require "luapilot"
local http = pilot.http
local function try(fn, ...)
  local ok, answer = pcall(fn, ...)
  tell(ok and answer.status or answer)
end
pilot.job "task" { main = true, run = function()
]]

-- KiB: a sanitizer keeps for a while what was freed.
local SLACK = os.getenv "LUAPILOT_BUILD" and 262144 or 16384

local function pilot(task, options) return run.pilot(PRELUDE .. task .. "\nend }", options) end

-- The lines that a task tells until it has ended well.
local function told(task, options)
  local p = pilot(task, options)
  assert.equal(0, p:wait(), p:output())
  local lines = {}
  for _, line in ipairs(p:lines "> ") do lines[#lines + 1] = line:match "> (.*)$" end
  return lines, p
end

local function maps(pid)
  local file = assert(io.open(("/proc/%d/maps"):format(pid)))
  local text = file:read "*a"
  file:close()
  return text
end

-- KiB of memory that belong to a process: shared pages count in parts.
local function pss(pid)
  local file = assert(io.open(("/proc/%d/smaps_rollup"):format(pid)))
  local text = file:read "*a"
  file:close()
  return tonumber(text:match "\nPss: +(%d+)")
end

local function sockets(pid)
  local count = 0
  for line in io.popen(("ls -l /proc/%d/fd 2>/dev/null"):format(pid)):lines() do
    if line:find "socket:" then count = count + 1 end
  end
  return count
end

-- Takes a question on the port of DNS, at 127.0.99.53, and does not answer before there is a file `answer`: then all
-- that are asked, with a refusal.
local SILENT = [[
  local ffi = require "ffi"
  ffi.cdef "int socket(int, int, int); int bind(int, const void *, unsigned); int poll(void *, unsigned long, int);"
  ffi.cdef "struct inet { uint16_t family, port; uint32_t address; char rest[8]; };"
  ffi.cdef "long recvfrom(int, void *, size_t, int, void *, unsigned *);"
  ffi.cdef "long sendto(int, const void *, size_t, int, const void *, unsigned);"
  local fd, from, size = ffi.C.socket(2, 2, 0), ffi.new "struct inet", ffi.new("unsigned[1]", 16)
  local address = ffi.new("struct inet", { family = 2, port = 53 * 256, address = 0x3563007f })
  assert(ffi.C.bind(fd, address, 16) == 0)
  io.open("listens", "w"):close()
  while true do
    local packet = ffi.new "uint8_t[512]"
    local length = ffi.C.recvfrom(fd, packet, 512, 0, from, size)
    while not io.open "answer" do ffi.C.poll(nil, 0, 10) end
    packet[2], packet[3] = 0x81, 0x83       -- an answer: there is no such name
    ffi.C.sendto(fd, packet, length, 0, from, 16)
  end
]]

describe("HTTP", function()
  after_each(run.cleanup)

  -- --- what it costs -----------------------------------------------------------------------------

  it("costs nothing until it is used", function()
    local server = web.start()
    local p = pilot(([[
      tell "ready"
      while not pilot.fs.exists "go" do pilot.sleep "20ms" end
      try(http.get, %q)
      pilot.sleep "1h"
    ]]):format(server:url {}))
    p:wait_for_line "> ready"
    local pid = p:pilot()
    assert.is_nil(maps(pid):find "libcurl")
    assert.is_nil(maps(pid):find "libssl")
    local before = pss(pid)
    p:write("go", "")
    p:wait_for_line "> 200"
    assert.is_truthy(maps(pid):find("libcurl.so.4", 1, true))
    local after = pss(pid)
    assert.is_true(after > before)
    print(("\n(PSS of the pilot: %d KiB, and %d KiB after its first request)"):format(before, after))
  end)

  it("says what to install when there is no libcurl", function()
    machine.need_mounts()
    local p = run.pilot(PRELUDE .. 'try(http.get, "http://127.0.0.1:1/")\nend }', {
      wrap = { "unshare", "--mount", "sh", "-c",
        "for f in $(ldconfig -p | sed -n 's/.*libcurl.so.4 .*=> //p'); do mount --bind /dev/null \"$f\"; done; "
        .. 'exec "$@"', "sh" },
    })
    assert.equal(0, p:wait(), p:output())
    assert.is_truthy(p:output():find("libcurl.so.4 is not installed: apt-get install libcurl4", 1, true), p:output())
  end)

  -- --- connections -------------------------------------------------------------------------------

  it("keeps connections for the next request, and none for checks", function()
    local server = web.start()
    local lines = told(([[
      for _ = 1, 20 do http.get(%q) end
      tell(http.get(%q).body)
    ]]):format(server:url { body = "x" }, server.base .. "/stats"))
    assert.equal("connections=1 requests=21", lines[1])

    local p = run.pilot(([[
      require "luapilot".job "app" { exec = "sleep 1000", health = { http = %q, interval = "100ms" } }
    ]]):format(server:url { body = "x" }))
    p:wait_for("some checks", function()
      local stats = told(("tell(http.get(%q).body)"):format(server.base .. "/stats"))[1]
      local connections = tonumber(stats:match "connections=(%d+)")
      return connections > 6
    end)
  end)

  it("sends a POST once, and a GET again when a kept connection breaks", function()
    local server = web.start()
    for method, found in pairs { get = "again", post = "closed the connection" } do
      local url = server:url { name = method, script = { { body = "first" }, { closes = true }, { body = "again" } } }
      local lines = told(([[
        local url = %q
        tell(http.get(url).body)
        local ok, answer = pcall(http.%s, url)
        tell(ok and answer.body or answer)
      ]]):format(url, method))
      assert.equal("first", lines[1])
      assert.is_truthy(lines[2]:find(found, 1, true), lines[2])
    end
  end)

  it("does two hundred requests at once, and leaves no descriptor to a job", function()
    local server = web.start()
    local lines = told(([[
      local tasks, good = {}, 0
      for i = 1, 200 do
        tasks[i] = pilot.spawn(function() return http.get(%q).body end)
      end
      pilot.sleep "50ms"
      local inside = pilot.exec(pilot.sh "ls -l /proc/self/fd | grep -c socket: || true").stdout
      for i = 1, 200 do if tasks[i]:wait() == "x" then good = good + 1 end end
      tell(good)
      tell(inside)
    ]]):format(server:url { body = "x", after = 0.3 }))
    assert.equal("200", lines[1])
    assert.equal("0", (lines[2]:gsub("%s", "")))
  end)

  it("closes what a cancelled request had open, at once", function()
    local server = web.start()
    local p = pilot(([[
      for _ = 1, 50 do
        pilot.timeout("5ms", function() http.get(%q) end)
      end
      tell "done"
      pilot.sleep "1h"
    ]]):format(server:url { hangs = true }))
    local pid = p:pilot()
    local before = sockets(pid)
    p:wait_for_line "> done"
    p:wait_for("closed sockets", function() return sockets(pid) <= before + 3 end)
  end)

  it("goes on while a name is looked up by a resolver that does not answer", function()
    machine.need_mounts()
    local p = run.pilot(PRELUDE .. [[
      local ticks = 0
      pilot.every("20ms", function() ticks = ticks + 1 end)
      try(http.get, "http://nobody.example/", { timeout = "500ms" })
      local before = ticks
      while ticks < before + 15 do pilot.sleep "20ms" end   -- the lookup goes on
      tell "ticking"
      pilot.fs.write("answer", "")
    end }]], {
      wrap = { "unshare", "--mount", "sh", "-c", [[
        luajit ./silent.lua &
        until test -e listens; do sleep 0.02; done
        echo 'nameserver 127.0.99.53\noptions timeout:30 attempts:5' >resolv
        echo 'hosts: dns' >nsswitch
        mount --bind resolv /etc/resolv.conf
        mount --bind nsswitch /etc/nsswitch.conf
        exec "$@"
      ]], "sh" },
      files = { ["silent.lua"] = SILENT },
    })
    p:wait_for_line "> ticking"
    assert.is_truthy(p:output():find "GET http://nobody.example/: the name was not resolved within 500ms", p:output())
    p:wait()
  end)

  -- --- sockets, streams, bounds ------------------------------------------------------------------

  it("speaks over a unix socket, whatever proxy the environment names", function()
    local directory = run.program({ "true" })
    local server = web.start(directory:path "web.sock")
    local lines = told(([[
      local res = http.get("http://any.host/%s", { socket = %q })
      tell(res.status, res.body)
      try(http.get, "http://any.host/", { socket = "/nonexistent.sock" })
    ]]):format(web.path({ body = "over it" }):sub(2), server.socket), { env = { http_proxy = "http://127.0.0.1:1" } })
    assert.equal("200 over it", lines[1])
    assert.matches("cannot connect to unix:/nonexistent.sock: no such file or directory", lines[2])
  end)

  it("walks the path of a unix socket as that of a file: a stranger's link leads nowhere", function()
    if io.popen("id -u"):read "*l" ~= "0" then machine.skip "needs root" end
    local directory = run.program({ "true" })
    local server, his = web.start(directory:path "web.sock"), directory:path "his"
    run.program({ "sh", "-c", 'mkdir "$0" && ln -s "$1" "$0/theirs" && ln -s "$1" "$2" && echo x > "$0/file"'
      .. ' && chown -Rh nobody "$0"', his, server.socket, directory:path "ours" }):wait()
    local lines = told(([[
      local function get(path) return http.get("http://localhost%s", { socket = path }) end
      for _ = 1, 3 do tell(get(%q).body) end
      local his = %q
      try(get, his .. "/theirs")
      try(get, his .. "/file")
      try(get, his .. "/gone/app.sock")
      try(get, his)
      local count = 0
      for _, name in ipairs(pilot.fs.list "/proc/self/fd") do
        local found = pilot.fs.stat("/proc/self/fd/" .. name)
        if found and found.target and found.target:find("web.sock", 1, true) then count = count + 1 end
      end
      tell(count)
    ]]):format(web.path { body = "over it" }, directory:path "ours", his))
    assert.same({ "over it", "over it", "over it" }, { lines[1], lines[2], lines[3] })
    assert.matches("his/theirs\" is a symbolic link of user 65534, who does not own what it leads to", lines[4])
    assert.matches("cannot connect to unix:/%S+/his/file: it is a file, and no socket", lines[5])
    assert.matches("his/gone.*no such file or directory", lines[6])
    assert.matches("his: it is a directory, and no socket", lines[7])
    assert.equal("0", lines[8])
  end)

  it("takes an explicit proxy, and the environment's for what is not loopback", function()
    local server = web.start()
    local url = "http://far.example" .. web.path { body = "by proxy" }
    local lines = told(([[
      tell(http.get(%q, { proxy = %q }).body)
      tell(http.get(%q).body)
    ]]):format(url, server.base, url), { env = { http_proxy = server.base, no_proxy = false } })
    assert.same({ "by proxy", "by proxy" }, lines)
  end)

  it("reads a slow stream piece by piece, and a large one in bounded memory", function()
    local server = web.start()
    local lines, p = told(([[
      for line in http.stream(%q):lines() do tell(line) end
      local function memory()
        return tonumber(pilot.fs.read("/proc/self/status"):match "VmRSS:%%s+(%%d+)")
      end
      local size, before, most = 0, nil, 0
      for chunk in http.stream(%q):chunks() do
        before = before or memory()
        size = size + #chunk
        if size %% 1048576 < #chunk then most = math.max(most, memory()) end
      end
      tell(size, most - before < %d and "bounded" or most - before)
    ]]):format(server:url { chunks = { "on", "e\ntwo\n", "three" }, every = 0.02 }, server:url { size = 67108864 },
      SLACK))
    assert.same({ "one", "two", "three", "67108864 bounded" }, lines, p:output())
  end)

  it("bounds a slow body by its timeout, and a large one by max_body", function()
    local server = web.start()
    local lines = told(([[
      try(http.get, %q, { timeout = "2s" })
      try(http.get, %q, { max_body = "64K" })
    ]]):format(server:url { chunks = { "a", "b" }, every = 5 }, server:url { size = 100000 }))
    assert.matches("the answer was not complete within 2s; timeout allows more", lines[1])
    assert.matches("the answer is larger than 65536 bytes; max_body is 64K: raise it", lines[2])
  end)

  it("follows a redirect on demand, and tells a stranger nothing", function()
    local here, there = web.start(), web.start()
    local target = there:url { echo = true }
    local lines = told(([[
      tell(http.get(%q).status)
      local res = http.get(%q, { follow = true, headers = { Authorization = "secret", ["X-Token"] = "secret" } })
      tell(res.status, res.body:find "secret" and "told" or "silent")
      try(http.get, %q, { follow = true })
    ]]):format(here:url { status = 302, headers = { "Location: " .. target } },
      here:url { status = 302, headers = { "Location: " .. target } },
      here:url { status = 302, headers = { "Location: file:///etc/passwd" } }))
    assert.equal("302", lines[1])
    assert.equal("200 silent", lines[2])
    assert.matches("only http and https are spoken", lines[3])
  end)

  -- --- TLS ---------------------------------------------------------------------------------------

  describe("with TLS", function()
    local MAKE = [[
      set -e
      ca() { openssl req -x509 -newkey rsa:2048 -nodes -keyout $1.key -out $1.pem -days $2 -subj "/CN=$1" 2>/dev/null; }
      cert() { # NAME SUBJECT-ALT-NAME CA [DAYS]
        openssl req -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj "/CN=$1" 2>/dev/null
        echo "subjectAltName=$2" >$1.ext
        openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key -CAcreateserial -out $1.pem -days ${4:-1} \
          -extfile $1.ext 2>/dev/null
      }
      ca good-ca 30
      ca other-ca 30
      cert good IP:127.0.0.1,DNS:app.internal good-ca
      cert wrong DNS:elsewhere.example good-ca
      cert expired IP:127.0.0.1 good-ca -1
      cert client DNS:client good-ca
    ]]

    local function server_block(port, name, more)
      return ("server { listen 127.0.0.1:%d ssl; ssl_certificate %s.pem; ssl_certificate_key %s.key; %s\n"
        .. "location / { return 200 'served by $ssl_server_name'; } }\n"):format(port, name, name, more or "")
    end

    it("verifies: the chain, the name, the dates; with a CA of one's own, and client certificates", function()
      machine.need("nginx", "openssl")
      local made = run.program { "sh", "-c", MAKE }
      assert.equal(0, made:wait(), made:output())
      local ports = {}
      for i = 1, 5 do ports[i] = story.free_port() end
      made:write("nginx.conf", "daemon off; pid nginx.pid; error_log stderr; events {}\nhttp { access_log off;\n"
        .. server_block(ports[1], "good") .. server_block(ports[2], "wrong") .. server_block(ports[3], "expired")
        .. server_block(ports[4], "good", "ssl_client_certificate good-ca.pem; ssl_verify_client on;")
        .. ("server { listen 127.0.0.1:%d; }}\n"):format(ports[5]))
      local nginx = run.program({ "nginx", "-p", made.directory, "-c", made.directory .. "/nginx.conf" })
      finally(function() -- it hides its environment, so cleanup would not find it
        nginx:signal "SIGTERM"
        nginx:wait()
      end)
      nginx:wait_for("nginx", function()
        return story.can("bash", "-c", ("exec 3<>/dev/tcp/127.0.0.1/%d"):format(ports[4]))
      end)

      local text = ([[
        local here, ports = %q, { %d, %d, %d, %d }
        local function file(name) return here .. "/" .. name .. ".pem" end
        local function at(i, tls) return "https://127.0.0.1:" .. ports[i] .. "/", { tls = tls } end
        tell(http.get(at(1, { cafile = file "good-ca" })).status)
        try(http.get, at(1))
        try(http.get, at(1, { cafile = file "other-ca" }))
        try(http.get, at(2, { cafile = file "good-ca" }))
        try(http.get, at(3, { cafile = file "good-ca" }))
        tell(http.get(at(3, { verify = false })).status)
        tell(http.get(at(1, { cafile = file "good-ca", servername = "app.internal" })).body)
        try(http.get, at(1, { cafile = file "good-ca", servername = "other.internal" }))
        tell(http.get(at(4, { cafile = file "good-ca" })).status)
        tell(http.get(at(4, {
          cafile = file "good-ca", clientcert = file "client", clientkey = here .. "/client.key",
        })).status)
        try(http.get, at(1, { cafile = "/nonexistent.pem" }))
        try(http.get, "https://127.0.0.1:%d/", { timeout = "5s" })
      ]]):format(made.directory, ports[1], ports[2], ports[3], ports[4], ports[5])
      local lines, p = told(text)
      local function shows(i, pattern) assert.is_truthy(lines[i]:find(pattern, 1, true), i .. ":\n" .. p:output()) end
      shows(1, "200")
      shows(2, "signed by nobody that is trusted here; tls = { cafile = ")
      shows(3, "signed by nobody that is trusted here")
      shows(4, "its certificate is for another name; tls = { servername = ")
      shows(5, "its certificate has expired")
      shows(6, "200")
      shows(7, "served by app.internal")
      shows(8, "its certificate is for another name")
      shows(9, "400")
      shows(10, "200")
      shows(11, "the CA certificates for 127.0.0.1")
      shows(12, "no TLS with 127.0.0.1")
    end)
  end)

  -- --- checks ------------------------------------------------------------------------------------

  it("checks the health of a real server", function()
    machine.need "nginx"
    local port = story.free_port()
    local p = run.pilot(([[
      local pilot = require "luapilot"
      local nginx = pilot.job "nginx" {
        exec = { "nginx", "-p", ".", "-c", pilot.exec and "%s/nginx.conf" },
        health = { http = "http://127.0.0.1:%d/health", interval = "1s", fall = 1 },
      }
      nginx:on("healthy", function(event) print("is healthy: " .. event.output) end)
      nginx:on("unhealthy", function(event) print("is unhealthy: " .. event.output) end)
    ]]):format(".", port), {
      env = { http_proxy = "http://127.0.0.1:1", all_proxy = "http://127.0.0.1:1" },
      files = { up = "fine\n", ["nginx.conf"] = ([[
        daemon off; pid nginx.pid; error_log stderr; events {}
        http { access_log off; server { listen 127.0.0.1:%d; root .; location /health { try_files /up =503; } } }
      ]]):format(port) },
    })
    p:wait_for_line "is healthy: HTTP 200: fine"
    os.remove(p:path "up")
    p:wait_for_line "is unhealthy: HTTP 503"
    p:signal "SIGTERM"
    assert.equal(0, p:wait())
  end)
end)
