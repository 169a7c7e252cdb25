-- What a service may be, as Consul takes it: each limit here is one of the agent's (spec/contract has them on a real
-- one).

local boxes = require "support.boxes"
local words = require "luapilot.base.describe"
local service_schema = require "luapilot.schema.service"

local function message(service)
  local first
  service_schema.services(service, "", function(path, said) first = first or path .. ": " .. said end)
  return first
end

local function read(service)
  local list = service_schema.services(service, "", error)
  return list[1]
end

local function pairs_of_meta(count)
  local result = {}
  for i = 1, count do result["k" .. i] = "x" end
  return result
end

local ALTERED = '%s: is not UTF-8: its byte %d is \\%d, and Consul would hold another text; write it in UTF-8'

describe("a service", function()
  it("has no text that Consul would hold otherwise", function()
    for path, each in pairs {
      ["tags[2]"] = { { tags = { "a", "caf\233" } }, 4, 233 }, ["tags[1]"] = { { tags = "\246l" }, 1, 246 },
      ["meta.town"] = { { meta = { town = "K\246ln" } }, 2, 246 }, ["name"] = { { name = "\226\130x" }, 1, 226 },
      ["id"] = { { id = "a\255" }, 2, 255 },
    } do
      assert.equal(ALTERED:format(path, each[2], each[3]), message(each[1]))
    end
    local tags, meta = { "café", '<a href="x">&amp;\226\128\168', "a", "a" }, { empty = "", town = "Köln" }
    assert.same(tags, read({ tags = tags }).tags)
    assert.same(meta, read({ meta = meta }).meta)
  end)

  it("has as much metadata as Consul takes", function()
    assert.same(pairs_of_meta(64), read({ meta = pairs_of_meta(64) }).meta)
    assert.equal("meta: has 65 fields: Consul takes 64", message { meta = pairs_of_meta(65) })
    local key = ("k"):rep(128)
    assert.equal(("x"):rep(512), read({ meta = { [key] = ("x"):rep(512) } }).meta[key])
    assert.matches("^meta%.k+: is a name of 129 bytes: Consul takes 128$", message { meta = { [key .. "k"] = "x" } })
    assert.equal("meta.long: has 513 bytes: Consul takes 512", message { meta = { long = ("x"):rep(513) } })
    assert.equal("meta.long: has 514 bytes: Consul takes 512", message { meta = { long = ("é"):rep(257) } })
  end)

  it("has names of metadata that Consul takes", function()
    for _, name in ipairs { "a.b", "a b", "", "é", 1 } do
      assert.matches("expected a name of letters, digits, dashes and underscores, got "
        .. words.value(name):gsub("%p", "%%%0"), message { meta = { [name] = "x" } })
    end
    assert.equal('meta["consul-x"]: begins with "consul-", which Consul keeps for itself: give it another name',
      message { meta = { ["consul-x"] = "x" } })
    assert.same({ ["Consul-x"] = "x", consul = "y" }, read({ meta = { ["Consul-x"] = "x", consul = "y" } }).meta)
  end)

  it("has weights and a port that Consul takes", function()
    assert.same({ passing = 1, warning = 0 }, read({ weights = { warning = 0 } }).weights)
    assert.same({ passing = 65535, warning = 65535 }, read({ weights = { passing = 65535, warning = 65535 } }).weights)
    assert.equal("weights.passing: expected a whole number from 1 to 65535, got a number: 0",
      message { weights = { passing = 0 } })
    assert.equal("weights.warning: expected a whole number from 0 to 65535, got a number: 65536",
      message { weights = { warning = 65536 } })
    assert.same({ 0, 65535, 80 }, { read({ port = 0 }).port, read({ port = 65535 }).port, read({ port = "80" }).port })
    assert.equal("port: expected a whole number from 0 to 65535, got a number: 65536", message { port = 65536 })
  end)

  it("has a name and an id about which Consul can be asked", function()
    for _, text in ipairs { "my_service", "my.service", "a b", "é", "a/b c%?#", ("n"):rep(100), "a/", "..a" } do
      assert.same({ text, text }, { read({ name = text }).name, read({ id = text }).id })
    end
    for _, text in ipairs { "/a", "a//b", ".", "..", "a/./b", "a/../b", "a/.." } do
      local fault = 'has an empty part, "." or ".." between slashes: no request about such a service reaches it'
      assert.same({ "name: " .. fault, "id: " .. fault }, { message { name = text }, message { id = text } })
    end
    for _, text in ipairs { "a\nb", "a\127", "\1" } do
      assert.matches("^id: has the byte %d+, a control character: Consul refuses", message { id = text })
    end
  end)

  it("is watched by such a name, and by options in UTF-8", function()
    local schema = require "luapilot.schema.schema"
    assert.equal("a/b", (schema.first(service_schema.watched_name, "a/b")))
    for _, text in ipairs { "/a", "a//b", "..", "a/../b", "a\n", "caf\233" } do
      assert.is_nil((schema.first(service_schema.watched_name, text)))
    end
    for _, name in ipairs { "tag", "near", "filter", "dc" } do
      local value, fault = schema.first(service_schema.watch_fields[name][1], "caf\233")
      assert.is_nil(value)
      assert.matches("is not UTF%-8: its byte 4", fault)
    end
  end)

  it("is removed after a time that Consul can count", function()
    assert.equal(14 * 24 * 3600, read({ deregister_after = "336h" }).deregister_after)
    assert.equal("deregister_after: is longer than Consul can count: 292 years", message { deregister_after = 1e10 })
  end)
end)

describe("a file is warned of", function()
  after_each(boxes.check)

  local function warnings(fields, consul)
    local list = {}
    local box = boxes.load(('%s pilot.job "app" { exec = "app", service = { %s } }'):format(
      consul or 'pilot.consul "consul:8500"', fields))
    for i, each in ipairs(box.app.mistakes:warnings()) do list[i] = each.path .. " " .. each.message end
    return list
  end

  it("a name that DNS does not know", function()
    local said = warnings 'name = "my_service"'
    assert.same({ 1, true }, { #said, said[1]:find('^job "app".service.name "my_service" is no name of DNS') == 1 })
    assert.same({}, warnings 'name = "my-service-2"')
    assert.same({}, warnings('name = "my_service"', ""))
  end)

  it("a time of deregistration that Consul makes longer", function()
    assert.same({ 'job "app".service.deregister_after is 10s: Consul waits 1m at least, and looks each 30s' },
      warnings 'deregister_after = "10s"')
    assert.same({}, warnings 'deregister_after = "1m"')
  end)
end)
