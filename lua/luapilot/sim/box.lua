-- box: one simulated container with its pilot.
--
-- A box holds the same core as the real program, on the simulated port. The spec describes what is around
-- it (programs, files, addresses), starts it, lets time pass, and looks. What the pilot needs and nobody
-- described is recorded as an error, and so is what it leaves behind.
--
-- It owns the parts of the simulated world that are this container's own, and everything that a spec can
-- ask. It never moves time by itself: the world does.

local app = require "luapilot.pilot.app"
local blame = require "luapilot.sim.blame"
local client = require "luapilot.sim.consul.client"
local contain = require "luapilot.sim.contain"
local control = require "luapilot.sim.consul.control"
local declared = require "luapilot.sim.declared"
local describe = require "luapilot.base.describe"
local files = require "luapilot.sim.files"
local handle = require "luapilot.sim.handle"
local history = require "luapilot.sim.history"
local kernel = require "luapilot.sim.kernel"
local link = require "luapilot.sim.link"
local network = require "luapilot.sim.network"
local programs = require "luapilot.sim.programs"
local random = require "luapilot.sim.random"
local sandbox = require "luapilot.sim.sandbox"
local schema = require "luapilot.schema.schema"
local server = require "luapilot.sim.server"
local sim_port = require "luapilot.sim.port"
local signals = require "luapilot.base.signals"
local sites = require "luapilot.sim.sites"
local suggest = require "luapilot.base.suggest"

local box = {}

local CWD = "/pilot"
local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
local OWN_PID = 2 -- 1 is the guardian
local OWN_ERROR = "an error inside luapilot"
local RAISED = 1000 -- errors of the pilot's code that are kept
local FIRST_STREAM = 16 -- of random numbers: those below belong to the world

local OPTIONS = {
  "files", "env", "args", "hostname", "addresses", "seed", "now", "source", "users", "groups", "closed",
  "agent",
}

---@class luapilot.sim.BoxOptions
---@field files table<string, string|boolean|table>?   path → content; true: a directory; false: absent
---@field env table<string, string>?
---@field args string[]?
---@field hostname string?
---@field addresses table[]?        { name, address, family, prefix, loopback, up }; four have defaults
---@field source string?            the text of the pilot.lua, instead of a real file
---@field users string[]?           default: every name exists
---@field groups string[]?
---@field closed boolean?           only described directories exist
---@field seed integer?             of sim.load
---@field now string|number|nil     of sim.load

---@class luapilot.sim.Box
---@field world luapilot.sim.World
---@field app luapilot.App?
---@field interface luapilot.Port     what the core calls
---@field exit_code integer?     nil while it runs
---@field ended boolean
---@field consul luapilot.sim.Consul
local methods = {}

local Box = {}

local unset = {} -- names that are like none of a method: fields that come later

function Box.__index(self, key)
  if methods[key] then return methods[key] end
  local core = rawget(self, "app")
  local crashed = rawget(self, "crashed")
  if key == "ended" then return crashed ~= nil or (core ~= nil and core.ended) end
  if key == "exit_code" then return crashed or (core and core.ended and core.exit_code) or nil end
  if unset[key] then return nil end
  local near = suggest.near(key, schema.keys(methods))
  if near then blame.raise("a box has no %q (did you mean %q?)", key, near) end
  unset[key] = true
end

-- --- making one ----------------------------------------------------------------------------------

local function set_of(list)
  if not list then return nil end
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set
end

local function interfaces_of(given, number)
  local result = {}
  local usual = {
    { name = "lo", address = "127.0.0.1", prefix = 8 },
    { name = "eth0", address = "172.17.0." .. number + 1, prefix = 16 },
  }
  for i, one in ipairs(given or usual) do
    local inet6 = one.address:find(":", 1, true) ~= nil
    result[i] = {
      name = one.name, address = one.address,
      up = one.up ~= false, loopback = one.loopback or one.name == "lo",
      family = one.family or (inet6 and "inet6" or "inet"), prefix = one.prefix or (inet6 and 64 or 24),
    }
  end
  return result
end

local function environ_of(given)
  local environ = { PATH = PATH, HOME = "/root" }
  for name, value in pairs(given or {}) do environ[name] = tostring(value) end
  return environ
end

local function directory_of(path) return path:match "^(.*/)[^/]*$" or "" end

-- A relative path of the spec, as the pilot.lua would mean it: below the directory of that file.
local function placed(self, path)
  if type(path) ~= "string" then return path end
  return files.normalize(path, self.directory)
end

-- The file as the box calls it, and where it is on the real disk.
local function find_file(self)
  if self.options.source then return end
  local directory, path = blame.directory(), self.path
  for _, real in ipairs { directory .. path, path } do
    if (real == path or path:sub(1, 1) ~= "/") and files.from_disk(real) then
      return self.files:overlay(files.normalize(directory_of(path), CWD), directory_of(real))
    end
  end
  blame.raise("sim.load: there is no file %q, neither beside the spec (%s) nor in the current directory",
    self.path, directory == "" and "." or directory)
end

local function make_network(self, world)
  return network.new(function() return self:names() end, function(host)
    local other = world:find(host, self)
    return other and other.network
  end, CWD)
end

-- Its Consul agent has its address.
local function make_consul(self, world, name, interfaces)
  local address = "127.0.0.1"
  for i = #interfaces, 1, -1 do
    if not interfaces[i].loopback then address = interfaces[i].address end
  end
  local consul = client.new(world.cluster:server(self.options.agent or name, address))
  self.consul = control.box(world.cluster, consul)
  return consul
end

local function make_port(self, world, number)
  local options = self.options
  local name, interfaces = options.hostname or self.name, interfaces_of(options.addresses, number)
  self.port = sim_port.new {
    clock = world.clock, latencies = world.latencies,
    random = random.new(world.seed, FIRST_STREAM + number),
    files = self.files, network = self.network, sites = self.sites, programs = self.programs, own_pid = OWN_PID,
    name = name, interfaces = interfaces, consul = make_consul(self, world, name, interfaces),
    environ = environ_of(options.env),
    users = { user = set_of(options.users), group = set_of(options.groups) },
    complain = function(message, kind, value) self:complain(message, kind, value) end,
    record = function(kind, moment) self:record(kind, moment) end,
  }
  self.port.kernel = kernel.new {
    clock = world.clock, network = self.network, complain = self.port.complain,
    latency = function() return self.port:latency() end,
  }
end

local function describe_files(self)
  local paths = {}
  for path in pairs(self.options.files or {}) do paths[#paths + 1] = path end
  table.sort(paths)
  for _, path in ipairs(paths) do self.files:describe(placed(self, path), self.options.files[path]) end
  if self.options.source then self.files:describe(self.path, self.options.source) end
end

---@param world luapilot.sim.World
---@param path string
---@param options luapilot.sim.BoxOptions
---@param number integer
---@return luapilot.sim.Box
function box.new(world, path, options, number)
  for name in pairs(options) do
    if not set_of(OPTIONS)[name] then
      blame.raise("sim.load: unknown option %q%s", tostring(name), suggest.hint(tostring(name), OPTIONS))
    end
  end
  local self = setmetatable({
    world = world, path = path, options = options, name = number == 1 and "box" or "box-" .. number,
    moments = {}, complaints = {}, raised = {}, children = {}, started = false, paused = false,
    directory = files.normalize(directory_of(path), CWD),
  }, Box)
  self.programs = programs.new(self.directory)
  self.files = files.new {
    cwd = CWD, closed = options.closed, clock = function() return world.clock:wall() end,
    unknown = function(name)
      self:complain(('nobody described the file %q: files = { [%q] = "content" }, or false if there is none')
        :format(name, name), "file", name)
    end,
  }
  self.files:describe(CWD, true)
  self.network, self.sites = make_network(self, world), sites.new()
  make_port(self, world, number)
  self.interface = sim_port.interface(self.port)
  describe_files(self)
  return self
end

-- Calls fn(…) in the pilot: its clock runs, its secrets are those that messages do not quote, and relative paths are
-- relative to its file.
local function enter(self, fn, ...)
  describe.masks, schema.pilot = self.app.masks, self.app
  return contain.call(self.app.loop.meter, fn, ...)
end

---Loads the pilot.lua; its mistakes are an error of the spec.
function methods:load()
  find_file(self)
  self.app = app.new {
    port = self.interface, args = self.options.args, calendar = sandbox.calendar,
    libraries = sandbox.libraries(self.port),
  }
  self.raised, self.app.observe = {}, function(event, unheard) self:observe(event, unheard) end
  local ok, mistakes = enter(self, self.app.load, self.app, self.path)
  if not ok then
    self.mistakes = mistakes
    blame.raise("%s has mistakes:\n  %s", self.path, table.concat(mistakes, "\n  "))
  end
end

-- --- what happens, written down --------------------------------------------------------------------

---@private
function methods:record(kind, moment)
  moment.kind, moment.at = kind, self.world.clock:elapsed()
  self.moments[#self.moments + 1] = moment
  if kind == "log" and moment.message:find(OWN_ERROR, 1, true) then self:complain(moment.message:match "^[^\n]*") end
  if kind == "spawn" and moment.job and moment.child then
    local list = self.children[moment.job] or {}
    self.children[moment.job] = list
    list[#list + 1] = moment
  end
end

---@private
function methods:complain(message, kind, value)
  local where = kind and self.app and declared.where(self.app, kind, value)
  if where then message = where .. ": " .. message end
  for _, said in ipairs(self.complaints) do
    if said == message then return end -- a check that is repeated fails again and again
  end
  self.complaints[#self.complaints + 1] = message
  self:record("complaint", { message = message })
end

---@private
-- unheard: an error that is not published.
function methods:observe(event, unheard)
  if event.name == "error" and #self.raised < RAISED then
    self.raised[#self.raised + 1] = { where = event.where, message = tostring(event.error) }
  end
  if unheard then return end
  local source = event.source == self.app.object and "pilot" or event.source.name
  self:record("event", { name = event.name, source = source, event = event })
end

---The starts of a job's program.
---@param name string
---@return table[]
function methods:spawns(name) return self.children[name] or {} end

-- --- running -----------------------------------------------------------------------------------------

-- What the kernel and the guardian do when the pilot is no more.
local function bury(self)
  self.port.kernel:kill_all()
  link.close_all(self.port)
end

local function check_end(self)
  if not self.app.ended or self.buried then return end
  self.buried = true
  for _, proc in ipairs(self.port.kernel:alive()) do
    self:complain(("still alive when the pilot ended: %s"):format(proc:describe()))
  end
  bury(self)
end

---Takes one event. False when there is none, or nobody to take it.
---@return boolean
function methods:turn()
  if not self.started or self.ended or self.paused then return false end
  local event = self.port:pop()
  if not event then return false end
  local ok, err = enter(self, xpcall, self.app.turn, debug.traceback, self.app, event)
  if not ok then
    blame.raise("an error inside luapilot (seed %d): %s\n%s", self.world.seed, err, self:history())
  end
  check_end(self)
  return true
end

---Starts the pilot.
---@return luapilot.sim.Box
function methods:start()
  if self.started then blame.raise("box:start: it runs already") end
  self.started = true
  enter(self, self.app.start, self.app)
  check_end(self)
  self.world:rest()
  return self
end

-- What nothing can come of is a forgotten box:start().
local function need_start(self, call)
  if not self.started then blame.raise("%s: the pilot has not been started: box:start()", call) end
end

---Lets time pass, in the whole world.
---@param time string|number
function methods:advance(time)
  need_start(self, "box:advance")
  self.world:advance(time)
end

---Lets time pass until predicate() is true; an error when it is not within `limit` (default an hour).
---@param predicate fun(): any
---@param limit string|number|nil
---@return any
function methods:run_until(predicate, limit)
  need_start(self, "box:run_until")
  return self.world:run_until(predicate, limit)
end

---The whole box stands still (docker pause, a suspended machine) while time passes in the rest of the world. All that
---was due meanwhile is late afterwards.
---@param time string|number
function methods:pause(time)
  need_start(self, "box:pause")
  self:record("pause", { text = tostring(time) })
  self.paused = true
  local go_on, began = self.port.kernel:freeze(), self.world.clock:now()
  self.world:advance(time)
  self.paused = false
  self.port:was_paused(self.world.clock:now() - began)
  self:record("pause", {})
  go_on()
  self.world:rest()
end

---A signal to the pilot. SIGKILL kills it, and the guardian ends the rest.
---@param name string
---@param options { pid: integer?, terminal: boolean? }?
function methods:signal(name, options)
  local _, message = signals.parse(name)
  if message then blame.raise("box:signal: %s", message) end
  if self.ended then return end
  if not self.port:signal(name, options) and signals.can_hear(name) or name == "SIGKILL" then
    self.crashed = 128 + signals.number(name)
    bury(self)
  end
  self.world:rest()
end

---SIGTERM, and time until the pilot has ended.
---@return integer exit_code
function methods:stop()
  need_start(self, "box:stop")
  if not self.ended then
    self:signal "SIGTERM"
    self.world:run_until(function() return self.ended end, "5m")
  end
  return self.exit_code
end

-- --- describing ----------------------------------------------------------------------------------------

---What a program does: see behaviour.lua. `prefix` is the beginning of its argv.
---@param prefix string|string[]|fun(argv: string[]): boolean
---@param behaviour luapilot.sim.Behaviour|function|table[]
function methods:program(prefix, behaviour)
  for _, address in ipairs(self.programs:describe(prefix, behaviour)) do self.network:expect(address) end
end

---From now on whatever is started there, as that program or as that user hangs, until it answers.
---@param kind "path"|"program"|"user"    a path: a working directory or a program, there or below
---@param name string
function methods:hang(kind, name) self.port.starts:hang(kind, kind == "path" and placed(self, name) or name) end

---It answers again: what hung goes on.
---@param kind "path"|"program"|"user"
---@param name string
function methods:answer(kind, name) self.port.starts:answer(kind, kind == "path" and placed(self, name) or name) end

---@param address string      "host:port"
---@param state "up"|"down"|"hangs"
function methods:tcp(address, state) self.network:describe(address, state) end

---Somebody outside of the box listens there, and says what is written: see server.lua.
---@param address string      "host:port", "unix:/run/app.sock"
---@param what table<string, any>|fun(conn: luapilot.sim.Conn)    { ["a line"] = "its answer\n" }
function methods:server(address, what)
  local complain = self.port.complain
  self.network:serve(address, server.outside(self.world.clock, server.script(what, complain), complain))
end

---What the web answers: see sites.lua.
---@param address string      a URL, with "*" for any text, perhaps with a method in front: "POST http://api/*"
---@param answer any          a status, a table, a function(request), "down", "hangs", or a list of them
function methods:http(address, answer) self.sites:describe(address, answer) end

---Writes a file from outside: a string, false (removes it), or a description as in `files`.
---@param path string
---@param what string|boolean|table
function methods:write(path, what) self.files:describe(placed(self, path), what) end

---From now on an operation on a file fails with a code; without a code it works again.
---@param operation "read"|"write"|"rename"|"remove"|"stat"|"chmod"|"list"|"mkdir"
---@param path string
---@param code string?        "ENOSPC"
function methods:fault(operation, path, code) self.files:fault(operation, placed(self, path), code) end

---A descriptor that pilot.poll waits for: ready "r", "w", "rw" or "".
---@param fd integer
---@param ready string
function methods:descriptor(fd, ready) self.port:descriptor(fd, ready) end

-- --- looking -------------------------------------------------------------------------------------------

---@param name string
---@return luapilot.sim.Job
function methods:job(name)
  if not self.app.jobs[name] then
    local names = {}
    for _, runner in ipairs(self.app.order) do names[#names + 1] = runner.spec.name end
    blame.raise("there is no job %q%s", tostring(name), suggest.hint(tostring(name), names))
  end
  return handle.new(self, name)
end

---The content of a file now, or nil.
---@param path string
---@return string?
function methods:file(path) return self.files:content(placed(self, path)) end

---The pilot's own log: { level, message, fields, at }.
---@return table[]
function methods:log() return self.port.logs end

---What a job wrote, both streams, in order.
---@param name string
---@return string
function methods:output(name)
  local lines = {}
  for _, line in ipairs(self.port.lines) do
    if line.job == name then lines[#lines + 1] = line.partial and line.line or line.line .. "\n" end
  end
  return table.concat(lines)
end

---Requests by HTTP so far: { method, url, headers, body, at }, names of headers in small letters.
---@return table[]
function methods:requests()
  local list = {}
  for _, moment in ipairs(self.moments) do
    if moment.kind == "request" then
      moment.request.at = moment.at
      list[#list + 1] = moment.request
    end
  end
  return list
end

---Published events so far: { name, source, at, event }; `source` is the job's name or "pilot", `at` seconds
---since the world began.
---@return table[]
function methods:events()
  local list = {}
  for _, moment in ipairs(self.moments) do
    if moment.kind == "event" then list[#list + 1] = moment end
  end
  return list
end

---Everything that is wrong: unhandled errors, what nobody described, what was left behind.
---@return string[]
function methods:errors()
  local list = {}
  for _, message in ipairs(self.complaints) do list[#list + 1] = message end
  for _, err in ipairs(self.raised) do list[#list + 1] = err.where .. ": " .. err.message end
  for i, message in ipairs(list) do list[i] = ("%s [seed %d]"):format(message, self.world.seed) end
  return list
end

---Returns the errors and forgets them: for specs that provoke them.
---@return string[]
function methods:forget_errors()
  local list = self:errors()
  self.complaints, self.raised = {}, {}
  return list
end

---What happened, for failure messages.
---@param lines integer?    only so many, the last
---@return string
function methods:history(lines) return history.format(self.name, self.moments, self.world.seed, lines) end

---The names and addresses of this box.
---@return table<string, boolean>
function methods:names()
  local names = { [self.port.name] = true }
  for _, one in ipairs(self.port.interfaces) do
    if not one.loopback then names[one.address] = true end
  end
  return names
end

return box
