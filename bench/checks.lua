-- checks: a hundred checks a second, of a hundred jobs without a process, in CPU for 30 s of them. `forker` starts the
-- same program as often with fork and exec and does nothing else.

local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local JOBS, SPAN = 100, 30
local TRUE = site.built .. "/true"

-- Lua that makes one check, from the port of the server.
local CHECKS = {
  tcp = 'tcp = "127.0.0.1:%d"', http = 'http = "http://127.0.0.1:%d/"',
  lua = "check = function() return true end", exec = ("exec = { %q }"):format(TRUE),
}

local function pilot(place, kind, port)
  return supervisors.pilot(place, ([[
    for i = 1, %d do pilot.job("job-" .. i) { health = { %s, interval = "1s" } } end
  ]]):format(JOBS, CHECKS[kind]:format(port)))
end

-- Later versions know it; a file with mistakes ends at once.
local function knows_http(place)
  local file = pilot(place, "http", 1).argv[3]
  return os.execute(("'%s' check '%s' >/dev/null 2>&1"):format(supervisors.binary, file)) == 0
end

local function cpu_of(place)
  local own = place:sum(system.cpu)
  return own, place:sum(system.children_cpu)
end

local function measure(kind, seconds, settled)
  return site.use(function(place)
    local port = 0
    if kind == "tcp" or kind == "http" then
      place:beside { argv = { site.built .. "/server", place:path "port" } }
      port = system.eventually("the server", 10, function() return (place:read "port" or ""):match "(%d+)\n" end)
    end
    place:launch(kind == "forker" and { argv = { site.built .. "/forker", tostring(JOBS), TRUE } }
      or pilot(place, kind, port))
    system.sleep(settled)
    local own, children = cpu_of(place)
    system.sleep(seconds)
    local own_later, children_later = cpu_of(place)
    return {
      own = (own_later - own) * SPAN / seconds,
      children = kind ~= "lua" and kind ~= "tcp" and kind ~= "http" and (children_later - children) * SPAN / seconds
        or nil,
    }
  end)
end

return {
  title = "100 checks a second, CPU in 30 s",
  figures = {
    { name = "own", title = "the supervisor's", unit = "s", against = { "forker" } },
    { name = "children", title = "its children's", unit = "s", against = { "forker" } },
  },
  goals = { { variant = "http", figure = "own", at_most = 0.3 } },
  variants = function(smoke)
    local list = {}
    for _, kind in ipairs { "tcp", "http", "lua", "exec", "forker" } do
      list[#list + 1] = {
        name = kind, measure = function() return measure(kind, smoke and 0.5 or 10, smoke and 0.1 or 2.5) end,
        skip = kind == "http" and not site.use(knows_http) and "this version has no http checks" or nil,
      }
    end
    return list
  end,
}
