-- orphans: ten thousand processes that lose their parent and end in the same moment, until PID 1 has reaped the last.
-- Each supervisor is PID 1 of a namespace of its own, so this needs root.

local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local function plan(name, place, count)
  local job = { site.built .. "/orphans", tostring(count), place:path "took" }
  local argv = { "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--" }
  local function add(words)
    for _, word in ipairs(words) do argv[#argv + 1] = word end
  end
  if name == "luapilot" then
    add(supervisors.pilot(place, ('pilot.job "orphans" { exec = { %q, %q, %q }, main = true }')
      :format(job[1], job[2], job[3])).argv)
  else
    add(name == "bare" and { site.built .. "/init" } or { name, "--" })
    add(job)
  end
  return { argv = argv }
end

local function measure(name, count)
  return site.use(function(place)
    place:launch(plan(name, place, count))
    local took = system.eventually("the last orphan", site.patience, function()
      return (place:read "took" or ""):match "(%d+)\n"
    end)
    if not system.wait(place.pid, 20) then error "PID 1 does not end" end
    place.pid = nil
    return { took = tonumber(took) / 1e9 }
  end)
end

return {
  title = "10,000 orphans that end at once, until none is left",
  figures = { { name = "took", title = "orphans", unit = "s", against = { "tini", "bare" } } },
  goals = { { variant = "luapilot", figure = "took", against = "tini", at_most = 1.5 } },
  variants = function(smoke)
    local list = {}
    for _, name in ipairs { "bare", "tini", "dumb-init", "luapilot" } do
      list[#list + 1] = {
        name = name, measure = function() return measure(name, smoke and 200 or 10000) end,
        skip = not system.is_root() and "it needs root" or supervisors.missing(name),
      }
    end
    return list
  end,
}
