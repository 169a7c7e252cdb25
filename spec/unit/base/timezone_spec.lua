local boxes = require "support.boxes"
local timezone = require "luapilot.base.timezone"

describe("timezone", function()
  local function complaint(environ, files)
    return timezone.complaint {
      environ = function() return environ end,
      stat = function(path) return (files or {})[path] and { type = "file" } end,
    }
  end

  it("has nothing to say of UTC, of a rule, of a zone that is there", function()
    for _, name in ipairs { "", "UTC", "UTC0", "Etc/UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "<+0330>-3:30", ":UTC" } do
      assert.is_nil(complaint { TZ = name }, name)
    end
    assert.is_nil(complaint {})
    assert.is_nil(complaint({ TZ = "Europe/Paris" }, { ["/usr/share/zoneinfo/Europe/Paris"] = true }))
    assert.is_nil(complaint({ TZ = ":Europe/Paris" }, { ["/usr/share/zoneinfo/Europe/Paris"] = true }))
    assert.is_nil(complaint({ TZ = "A", TZDIR = "/zones" }, { ["/zones/A"] = true }))
    assert.is_nil(complaint({ TZ = "/etc/zone" }, { ["/etc/zone"] = true }))
  end)

  it("names the file that is missing", function()
    assert.equal("TZ=Nowhere/City is unknown here (no /usr/share/zoneinfo/Nowhere/City: install tzdata): UTC is used",
      complaint { TZ = "Nowhere/City" })
    assert.matches("no /zones/CET:", complaint { TZ = ":CET", TZDIR = "/zones" })
  end)

  it("is looked at once, when a file names pilot.cron", function()
    local files = { ["/usr/share/zoneinfo/Nowhere/City"] = false }
    local box = boxes.run([[
      pilot.cron("0 3 * * *", function() end)
      pilot.job "nightly" { exec = "app", when = pilot.cron "0 4 * * *" }
    ]], {}, { env = { TZ = "Nowhere/City" }, files = files })
    local warnings = box.app.mistakes:warnings()
    assert.equal(1, #warnings)
    assert.equal("pilot.cron", warnings[1].path)
    assert.matches("TZ=Nowhere/City is unknown here", warnings[1].message)
  end)
end)
