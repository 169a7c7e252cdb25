local address = require "luapilot.base.address"

local function interface(name, ip, options)
  local one = {
    name = name, address = ip, family = ip:find(":", 1, true) and "inet6" or "inet", prefix = 24,
    loopback = name == "lo", up = true,
  }
  for key, value in pairs(options or {}) do one[key] = value end
  return one
end

-- Not in order: find sorts.
local MACHINE = {
  interface("lo", "127.0.0.1"), interface("eth1", "192.168.7.2"), interface("eth0", "fe80::1%eth0"),
  interface("eth0", "10.0.0.10"), interface("eth0", "10.0.0.9"), interface("eth0", "fd00::5"),
  interface("eth0", "2001:db8::7"), interface("lo", "::1"), interface("down0", "172.16.0.1", { up = false }),
  interface("br-a.b", "10.9.0.1"),
}

local function find(...) return (address.find(MACHINE, { ... })) end

describe("address", function()
  local FOUND = {
    { "eth0", "10.0.0.9" }, { "eth0:inet", "10.0.0.9" }, { "eth0[0]", "10.0.0.9" }, { "eth0[1]", "10.0.0.10" },
    { "eth0[2]", "2001:db8::7" }, { "eth0:inet6", "2001:db8::7" }, { "eth1", "192.168.7.2" }, { "lo", "127.0.0.1" },
    { "lo:inet6", "::1" }, { "br-a.b", "10.9.0.1" },
    { "inet", "10.9.0.1" }, { "inet6", "2001:db8::7" },
    { "10.0.0.0/8", "10.9.0.1" }, { "10.0.0.0/24", "10.0.0.9" }, { "192.168.0.0/16", "192.168.7.2" },
    { "10.0.0.10/32", "10.0.0.10" }, { "10.0.0.8/31", "10.0.0.9" }, { "0.0.0.0/0", "10.9.0.1" },
    { "127.0.0.0/8", "127.0.0.1" }, { "fd00::/8", "fd00::5" }, { "fe80::/10", "fe80::1%eth0" },
    { "2001:db8::/33", "2001:db8::7" }, { "::/0", "2001:db8::7" },
    { "static:1.2.3.4", "1.2.3.4" }, { "static:fd00::1", "fd00::1" },
  }
  for _, row in ipairs(FOUND) do
    it(row[1], function() assert.equal(row[2], find(row[1])) end)
  end

  it("stands in brackets before a port where it is of version 6", function()
    for text, given in pairs {
      ["10.0.0.1:80"] = { "10.0.0.1", 80 }, ["db.example:5432"] = { "db.example", 5432 }, ["[::1]:80"] = { "::1", 80 },
      ["[fd00::1%eth0]:65535"] = { "fd00::1%eth0", 65535 }, ["[::2]:1"] = { "[::2]", 1 },
      ["10.0.0.2"] = { "10.0.0.2", 0 }, ["[::3]"] = { "::3" },
    } do
      assert.equal(text, address.authority(given[1], given[2]))
    end
  end)

  it("takes the first specification that fits", function()
    assert.equal("192.168.7.2", find("wlan0", "eth9:inet6", "eth1", "inet"))
    assert.equal("10.0.0.9", find(unpack(address.DEFAULT)))
  end)

  it("says what there is when nothing fits", function()
    for _, spec in ipairs { "eth0[9]", "eth1:inet6", "down0", "11.0.0.0/8", "fd01::/16", "wlan0" } do
      local found, message = address.find(MACHINE, { spec })
      assert.is_nil(found)
      assert.matches("^no address fits " .. spec:gsub("%p", "%%%0") .. "; this machine has: br%-a%.b 10%.9%.0%.1, ",
        message)
    end
    assert.equal("no address fits inet; this machine has: ", select(2, address.find({}, { "inet" })))
  end)

  it("says what is wrong with a specification", function()
    local function wrong(spec)
      local parsed, message = address.parse(spec)
      assert.is_nil(parsed)
      return message
    end
    assert.equal('"eth0:inet5": expected inet or inet6 after the colon (did you mean "inet"?)', wrong "eth0:inet5")
    assert.equal('"1.2.3" is no IP address', wrong "static:1.2.3")
    assert.equal('"1.2.3.256" is no IP address', wrong "static:1.2.3.256")
    for _, spec in ipairs { "1.2.3.4/33", "fd00::/129", "1.2/8", "1::2::3/8", "1:2:3:4:5:6:7:8:9/8", "::::/8" } do
      assert.equal(('"%s" is no network'):format(spec), wrong(spec))
    end
    for _, spec in ipairs { "", "eth0[", "eth0[x]", "a b", "static:", "eth0:", "/8" } do
      assert.matches("is no address specification: write", wrong(spec))
    end
  end)

  it("does not change the list it is given", function()
    local list = { interface("eth1", "10.0.0.2"), interface("eth0", "10.0.0.1") }
    address.find(list, { "inet" })
    assert.equal("eth1", list[1].name)
  end)
end)
