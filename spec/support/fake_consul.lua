-- A Consul of which the spec plays the answers: a pilot on the stub port, and the requests that it sends there.
--
--   local box = fake_consul.load('pilot.consul "localhost:8500"', { ["GET /v1/status/leader"] = '"127.0.0.1:8300"' })
--   local ok, value = box:call(function() return box.pilot.consul.status.leader() end)
--
-- An answer is a body, a status, a table { status, body, headers, error, code }, a function(request) that returns one,
-- or "later": the spec itself answers with box:answer. A request that nobody described is an error.

local stub_pilot = require "support.stub_pilot"

local fake_consul = {}

local Box = {}
Box.__index = Box

local function event_of(answer)
  if type(answer) == "number" then answer = { status = answer } end
  if type(answer) == "string" then answer = { body = answer } end
  return {
    type = "response", status = not answer.error and (answer.status or 200) or nil, headers = answer.headers or {},
    body = answer.body or "", error = answer.error, code = answer.code,
  }
end

local function pattern_of(request)
  return request.method .. " " .. request.path
end

-- The answer to a request: for the path with its query, else without.
local function answer_to(self, request)
  local key = pattern_of(request)
  local answer = self.answers[key]
  if answer == nil then answer = self.answers[(key:gsub("%?.*$", ""))] end
  if answer == nil then error("nobody described " .. key, 0) end
  if type(answer) == "function" then return answer(request) end
  return answer
end

local function ask(self, world, request)
  self.requests[#self.requests + 1] = request
  local answer = answer_to(self, request)
  if type(answer) == "table" and answer.refused then return nil, answer.refused, answer.code end
  local id = world:handle { what = "request " .. pattern_of(request) }
  self.open[#self.open + 1] = { id = id, answer = answer ~= "later" and answer or nil }
  return id
end

---@param source string       behind `local pilot = require "luapilot"`, in the same line
---@param answers table<string, any>?     "GET /v1/status/leader" → answer
---@param options { environ: table?, files: table? }?
function fake_consul.load(source, answers, options)
  options = options or {}
  local self = setmetatable({ answers = answers or {}, requests = {}, agents = {}, open = {} }, Box)
  self.box = stub_pilot.load('local pilot = require "luapilot"; pilot.on("SIGUSR1", function() end) ' .. source, {
    files = options.files,
    calls = {
      environ = function() return options.environ or {} end,
      agent = function(_, agent) self.agents[#self.agents + 1] = agent end,
      consul = function(world, request) return ask(self, world, request) end,
    },
  })
  self.box:start()
  self.pilot, self.app, self.world = self.box.app.object, self.box.app, self.box.world
  return self
end

-- Is the request still waited for?
local function is_live(self, each) return self.world.handles[each.id] ~= nil end

---Answers all requests whose answers are known, and those that follow from them.
function Box:settle()
  local again = true
  while again do
    again = false
    for i = #self.open, 1, -1 do
      local each = self.open[i]
      if not is_live(self, each) then
        table.remove(self.open, i)
      elseif each.answer then
        table.remove(self.open, i)
        again = true
        self.world:send(each.id, event_of(each.answer), true)
      end
    end
  end
end

---Answers the oldest request that waits.
function Box:answer(answer)
  local each = table.remove(self.open, 1)
  self.world:send(each.id, event_of(answer), true)
end

---Runs fn in a task, with all the answers that it needs: as pcall. Still waiting: nothing.
function Box:call(fn, ...)
  local results
  local args, n = { ... }, select("#", ...)
  self.box:task(function()
    results = { pcall(fn, unpack(args, 1, n)) }
  end)
  self:settle()
  while not results and self.world:open()[1] == "timer" do -- of a pause
    self.world:fire()
    self:settle()
  end
  if results then return unpack(results, 1, table.maxn(results)) end
end

---Runs the text of a function in a task, as a line of pilot.lua would: what it raises has its place.
function Box:run(text, ...)
  local chunk = assert(loadstring("local pilot = ...; " .. text, "@pilot.lua"))
  setfenv(chunk, setmetatable({}, { __index = _G })) -- no user's function has the core's
  return self:call(chunk, self.pilot, ...)
end

function Box:last() return self.requests[#self.requests] end

---Nothing is left open.
function Box:check() self.box:check() end

return fake_consul
