-- Objects of the user's, whose metamethods may raise, where a table is expected: each is a mistake of the file at its
-- place, and never an error inside luapilot.

local boxes = require "support.boxes"

local HEAD = [[
local pilot = require "luapilot"
local function object(fields)
  return setmetatable(fields or {}, { __index = error, __tostring = function() error "asked for its name" end })
end
local function hidden() return setmetatable({}, { __index = error, __metatable = "nobody's business" }) end
local job = pilot.job "job" { exec = "true" }
]]

local OBJECTS = {
  "object()", "object { 1 }", "object { 'x', 'y' }", "object { [2] = 1 }", "object { name = 'x', exec = 'a' }",
  "hidden()", "{ object(), object() }", "{ a = object() }", "{ [object()] = 1, [object()] = 2 }",
}

-- Where the object stands is OBJECT.
local DECLARED = {
  "pilot.job(OBJECT)", "pilot.job 'a' (OBJECT)", "pilot.once(OBJECT)", "pilot.each('startup', OBJECT)",
  "pilot.all(OBJECT)", "pilot.any { OBJECT, OBJECT }", "pilot.on('startup', OBJECT, print)",
  "pilot.every('1s', OBJECT)", "pilot.cron('* * * * *', OBJECT, print)", "pilot.template '/x' (OBJECT)",
  "pilot.watch('a', OBJECT)",
  "pilot.shutdown_signals(OBJECT)", "pilot.logging(OBJECT)", "pilot.consul(OBJECT)", "pilot.consul { tls = OBJECT }",
  "pilot.spawn(OBJECT)", "pilot.sh(OBJECT)", "pilot.address(OBJECT)", "job:on(OBJECT, print)",
  "job:once('healthy', OBJECT)",
}
local FIELDS = "name exec run prepare when restart timeout stop_signal stop_mode stop_timeout reload pidfile main "
  .. "health env env_file env_clear cwd user group umask limits no_new_privs oom_score_adj cgroup log stdin "
  .. "service drain"
for field in FIELDS:gmatch "%S+" do
  DECLARED[#DECLARED + 1] = "pilot.job 'a' { exec = 'x', " .. field .. " = OBJECT }"
end
for _, inner in ipairs { "log = { file = OBJECT }", "limits = { nofile = OBJECT }", "health = { http = OBJECT }",
  "health = { http = { url = 'http://a/', headers = OBJECT } }", "health = { exec = OBJECT }",
  "restart = { backoff = OBJECT }", "service = { tags = OBJECT }", "service = { meta = OBJECT }" } do
  DECLARED[#DECLARED + 1] = "pilot.job 'a' { exec = 'x', " .. inner .. " }"
end

local CALLED = {
  "pilot.exec(OBJECT)", "pilot.exec('x', OBJECT)", "pilot.exec('x', { env = OBJECT })", "pilot.render(OBJECT)",
  "pilot.render { text = 'a', to = '/x', data = OBJECT }", "pilot.http.get('http://a/', OBJECT)",
  "pilot.http.get('http://a/', { headers = OBJECT })", "pilot.http.post('http://a/', { form = OBJECT })",
  "pilot.http.request(OBJECT)", "pilot.http.stream('http://a/', OBJECT)", "pilot.net.connect(OBJECT)",
  "pilot.net.connect('a:1', OBJECT)", "pilot.net.connect('a:1', { max_line = OBJECT })",
  "pilot.fs.write('/x', 'a', OBJECT)", "pilot.fs.mkdir('/x', OBJECT)", "pilot.spawn(OBJECT)",
  "pilot.timeout('1s', OBJECT)", "pilot.sleep(OBJECT)",
  "job:signal(OBJECT)", "job:wait_for(OBJECT)", "consul.kv.put('a', 'b', OBJECT)", "consul.kv.get('a', OBJECT)",
  "consul.session.create(OBJECT)", "consul.txn(OBJECT)", "consul.txn { OBJECT }",
  "consul.agent.service_register(OBJECT)", "consul.query.create(OBJECT)", "consul.event.fire('a', OBJECT)",
}

-- An error of the core's code, or one that it says itself that it is.
local function is_own(text)
  return text:find "an error inside luapilot" or text:match("[^\n]*"):find "luapilot/[%w_/]+%.lua:%d"
end

local function with(text, object) return (text:gsub("OBJECT", function() return object end)) end

describe("an object whose fields cannot be read", function()
  for _, object in ipairs(OBJECTS) do
    it(("is a mistake where it is declared: %s"):format(object), function()
      for _, text in ipairs(DECLARED) do
        local ok, err = pcall(boxes.load, HEAD .. with(text, object))
        if not ok and is_own(tostring(err)) then error(with(text, object) .. ": " .. tostring(err)) end
      end
    end)

    it(("is an error of the caller's where it is given: %s"):format(object), function()
      local tries = {}
      for i, text in ipairs(CALLED) do
        tries[i] = ("pilot.on('startup', function() local consul = pilot.consul %s end)"):format(with(text, object))
      end
      local box = boxes.load(HEAD .. "pilot.consul 'localhost:8500'\n" .. table.concat(tries, "\n"))
      box:program("true", {})
      box:start()
      box:advance "1s"
      local errors = box:forget_errors()
      assert.is_true(#errors >= #CALLED / 2)
      for _, err in ipairs(errors) do
        if is_own(tostring(err)) then error(tostring(err)) end
      end
    end)
  end

  it("is told with the path of the field", function()
    local ok, err = pcall(boxes.load, HEAD .. "pilot.job 'a' { exec = 'x', log = object() }")
    assert.is_false(ok)
    assert.matches('pilot.lua:7: job "a": log.%w+: cannot be read: its __index raises bad argument', tostring(err))
    ok, err = pcall(boxes.load, HEAD .. [[
      pilot.job "b" { exec = "x", restart = setmetatable({}, { __index = function() error { 1 } end }) }
    ]])
    assert.is_false(ok)
    assert.matches('job "b": restart.%w+: cannot be read: its __index raises a table', tostring(err))
  end)

  it("is read where it does not raise", function()
    local box = boxes.load [[
      local usual = { restart = "always", stop_timeout = "2s" }
      pilot.job "app" (setmetatable({ exec = "app" }, { __index = usual }))
      pilot.job "other" (setmetatable({ exec = "app" }, { __index = function(_, name) return usual[name] end }))
    ]]
    for _, name in ipairs { "app", "other" } do
      assert.equal(2, box.app.jobs[name].spec.stop_timeout)
      assert.equal("always", box.app.jobs[name].spec.restart.policy)
    end
  end)
end)
