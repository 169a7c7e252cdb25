-- lines: what a job writes on its way to our stdout, in lines of 100 bytes: MB/s as the reader sees them, the
-- supervisor's CPU for each MB, and whether each line arrived.

local site = require "site"
local supervisors = require "supervisors"
local system = require "system"

local LINE = 100
local WRITER, READER = site.built .. "/writer", site.built .. "/reader"

local function pilot(top, log, more)
  return function(place, lines, block)
    return supervisors.pilot(place, ([[
      pilot.logging { level = "error"%s }
      pilot.job "w" { exec = { %q, "%d", "%d" }, log = %s }
      %s
    ]]):format(top, WRITER, lines, block, log, more or ""))
  end
end

local function s6_log(script)
  return function(_, lines, block)
    return { argv = { "sh", "-c", ("'%s' %d %d | exec s6-log %s 1"):format(WRITER, lines, block, script) } }
  end
end

-- name → what is launched, with the pipe to the reader as its stdout; `own` picks the supervisor's processes.
local WAYS = {
  {
    name = "bare pipe",
    plan = function(_, lines, block) return { argv = { WRITER, tostring(lines), tostring(block) } } end,
  },
  { name = "default", plan = pilot("", '"lines"') },
  { name = "text", plan = pilot(', format = "text"', '"lines"') },
  { name = "json", plan = pilot(', format = "json"', '"lines"') },
  { name = "raw", plan = pilot("", '"raw"') },
  { name = "beside raw", plan = pilot("", '"lines"', 'pilot.job "r" { exec = "sleep 600", log = "raw" }') },
  { name = "s6-log", plan = s6_log "" },
  { name = "s6-log T", plan = s6_log "T" },
  {
    name = "supervisord",
    plan = function(place, lines, block)
      return supervisors.supervisord(place, 1, {
        program = ("%s %d %d"):format(WRITER, lines, block), output = "/dev/stdout",
      })
    end,
  },
}

local function measure(way, lines, block)
  return site.use(function(place)
    local reading, writing = system.pipe()
    place:beside { argv = { READER, tostring(lines), place:path "read" }, stdin = reading }
    system.close(reading)
    place:launch(way.plan(place, lines, block), writing)
    system.close(writing)
    local count, bytes, first, last = system.eventually("every line", site.patience, function()
      return (place:read "read" or ""):match "\n" and place:read "read"
    end):match "(%d+) (%d+) (%d+) (%d+)"
    if tonumber(count) ~= lines then
      error(("%s: %d lines were written, %d arrived (%d bytes)"):format(way.name, lines, count, bytes))
    end
    local cpu = 0
    if way.name ~= "bare pipe" then cpu = place:sum(system.cpu) end
    return { rate = lines * LINE / ((tonumber(last) - tonumber(first)) / 1e9), cpu = cpu / (lines * LINE / 1e6) }
  end)
end

local function variants_of(smoke)
  local list = {}
  for _, writer in ipairs {
    { name = "64 KiB", block = 65536, lines = smoke and 20000 or 2000000, slow = 400000 },
    { name = "line-wise", block = LINE, lines = smoke and 20000 or 300000, slow = 300000 },
  } do
    for _, way in ipairs(WAYS) do
      local slow = way.name:find "^s6" and not smoke
      list[#list + 1] = {
        name = way.name .. ", " .. writer.name, skip = supervisors.missing(way.name:match "^[%w-]+"),
        measure = function() return measure(way, slow and writer.slow or writer.lines, writer.block) end,
      }
    end
  end
  return list
end

local goals = {}
for name, share in pairs { default = 0.5, text = 0.45, json = 0.35, raw = 0.9 } do
  for _, writer in ipairs { "64 KiB", "line-wise" } do
    goals[#goals + 1] = {
      variant = name .. ", " .. writer, figure = "rate", against = "bare pipe, " .. writer, at_least = share,
    }
  end
end
table.sort(goals, function(a, b) return a.variant < b.variant end)

return {
  title = "lines of 100 bytes through the supervisor, none lost",
  figures = {
    { name = "rate", title = "lines", unit = "B/s", against = { "bare pipe, 64 KiB", "bare pipe, line-wise" } },
    { name = "cpu", title = "the supervisor's CPU for each MB", unit = "s" },
  },
  goals = goals,
  variants = variants_of,
}
