local job_schema = require "luapilot.schema.job"
local schema = require "luapilot.schema.schema"
local process_schema = require "luapilot.schema.process"

local function ok(check, value)
  local result, message = schema.first(check, value)
  assert.is_nil(message)
  return result
end

local function refused(check, value)
  local result, message, path = schema.first(check, value)
  assert.is_nil(result)
  return path == "" and message or path .. ": " .. message
end

describe("schema.process", function()
  it("env", function()
    assert.same({ PORT = "8000", N = "5", EMPTY = "" }, ok(process_schema.env, { PORT = "8000", N = 5, EMPTY = "" }))
    assert.equal('B: expected a string or a number, got a boolean: true; write "true"', refused(process_schema.env,
      { B = true }))
    assert.equal("F: expected a string or a number, got a function", refused(process_schema.env, { F = print }))
    assert.equal('[1]: expected NAME = "value", got a string: "A=b"; write A = "…"', refused(process_schema.env,
      { "A=b" }))
    assert.equal('[1]: expected NAME = "value", got a number: 5', refused(process_schema.env, { 5 }))
    assert.equal('["a=b"]: a name cannot be empty or contain "=" or a NUL byte', refused(process_schema.env,
      { ["a=b"] = "x" }))
    assert.equal("A: contains a NUL byte", refused(process_schema.env, { A = "\0" }))
    assert.same({ A = "9007199254740991", B = "-123456789012345", C = "0.1" },
      ok(process_schema.env, { A = 2 ^ 53 - 1, B = -123456789012345, C = 0.1 }))
    local what = "A: expected a number below 2^53, up to which Lua's are exact, got a number: "
    assert.equal(what .. "1234567890123456768; write it as a string",
      refused(process_schema.env, { A = 1234567890123456789 }))
    assert.equal(what .. "9007199254740992; write it as a string", refused(process_schema.env, { A = 2 ^ 53 }))
    assert.equal(what .. "-inf", refused(process_schema.env, { A = -1 / 0 }))
    assert.matches(what:gsub("[%^.]", "%%%0") .. "%-?nan$", refused(process_schema.env, { A = 0 / 0 }))
    assert.equal('expected a table such as { PORT = "8000" }, got a string: "x"', refused(process_schema.env, "x"))
  end)

  it("account", function()
    assert.equal("app", ok(process_schema.account, "app"))
    assert.equal(0, ok(process_schema.account, 0))
    assert.equal('expected one name, got a string: "app:web"; write user = "app", group = "web"',
      refused(process_schema.account, "app:web"))
    assert.equal("is an empty string", refused(process_schema.account, ""))
    assert.equal("expected a whole number from 0 to 4294967294, got a number: -1", refused(process_schema.account, -1))
    assert.equal("expected a name or a number, got a boolean: true", refused(process_schema.account, true))
  end)

  it("umask", function()
    assert.equal(23, ok(process_schema.umask, "027"))
    assert.equal(0, ok(process_schema.umask, "0"))
    assert.equal(511, ok(process_schema.umask, "0777"))
    local what = 'expected a string of octal digits such as "027", got '
    assert.equal(what .. 'a number: 27; write "027"', refused(process_schema.umask, 27))
    assert.equal(what .. "a number: 28", refused(process_schema.umask, 28))
    assert.equal(what .. 'a string: "8"', refused(process_schema.umask, "8"))
    assert.equal(what .. 'a string: "1777"', refused(process_schema.umask, "1777"))
    assert.equal(what .. 'a string: ""', refused(process_schema.umask, ""))
  end)

  it("limits", function()
    assert.same({ nofile = { 65536, 65536 }, core = { 0, -1 }, memlock = { 65536, 65536 }, as = { -1, -1 } },
      ok(process_schema.limits, { nofile = 65536, core = { 0, "unlimited" }, memlock = "64K", as = "unlimited" }))
    assert.equal('nofil: unknown field (did you mean "nofile"?)', refused(process_schema.limits, { nofil = 5 }))
    assert.equal("core: expected two values, { soft, hard }, got 1", refused(process_schema.limits, { core = { 0 } }))
    assert.equal("core: the soft limit is above the hard limit", refused(process_schema.limits, { core = { 2, 1 } }))
    assert.equal("core: the soft limit is above the hard limit", refused(process_schema.limits,
      { core = { "unlimited", 1 } }))
    assert.equal('core: expected a number, a size such as "64K", "unlimited", or { soft, hard }, '
      .. 'got a number: -1',
      refused(process_schema.limits, { core = -1 }))
    assert.equal('core[2]: expected a number, a size such as "64K", "unlimited", or { soft, hard }, '
      .. 'got a string: "x"',
      refused(process_schema.limits, { core = { 1, "x" } }))
  end)

  it("address", function()
    for _, address in ipairs { "localhost:80", "10.0.0.1:65535", "[::1]:80", "[fe80::1]:1",
      "my_db.internal:5432" } do
      assert.equal(address, ok(process_schema.address, address))
    end
    local what = 'expected "host:port" such as "localhost:80", got '
    assert.equal(what .. 'a string: "db"; the port is missing: write for example "db:80"',
      refused(process_schema.address, "db"))
    assert.equal(what .. 'a string: ":80"; the host is missing: write "localhost:80"',
      refused(process_schema.address, ":80"))
    assert.equal(what .. 'a string: "80"; the host is missing: write "localhost:80"',
      refused(process_schema.address, "80"))
    assert.equal(what .. 'a number: 80; the host is missing: write "localhost:80"', refused(process_schema.address,
      80))
    assert.equal(what .. 'a string: "http://db:80/x"; it is no URL: write only "db:80"',
      refused(process_schema.address, "http://db:80/x"))
    assert.equal(what .. 'a string: "::1:80"; write an IPv6 address in brackets: "[::1]:80"',
      refused(process_schema.address, "::1:80"))
    assert.equal(what .. 'a string: "a b:80"', refused(process_schema.address, "a b:80"))
    assert.equal("the port 0 is not within 1-65535", refused(process_schema.address, "db:0"))
    assert.equal("the port 65536 is not within 1-65535", refused(process_schema.address, "[::1]:65536"))
  end)

  it("name", function()
    assert.equal("worker-1a", ok(job_schema.name, "worker-1a"))
    assert.equal("aB", ok(job_schema.name, "aB"))
    local what = 'expected a name of letters, digits and "-" that begins with a small letter, got '
    assert.equal(what .. 'a string: "App_1"; write "app-1"', refused(job_schema.name, "App_1"))
    assert.equal(what .. 'a string: "1a"; write "a"', refused(job_schema.name, "1a"))
    assert.equal(what .. 'a string: ""', refused(job_schema.name, ""))
    assert.equal(what .. "a number: 5", refused(job_schema.name, 5))
  end)
end)
