-- place: what tools/soak says to its pilot on the command line, and the paths that follow from it.

local pilot = require "luapilot"

local words = {}
for _, word in ipairs(pilot.args) do
  local name, value = word:match "^(%w+)=(.*)$"
  words[name] = value
end

local place = {
  actor = words.actor,               -- the program of all jobs
  state = words.box .. "/state",     -- a tmpfs with room: what the pilot and tools/soak tell each other
  disk = words.box .. "/disk",       -- a small one, which is full now and then
  seed = tonumber(words.seed),
  format = words.format,
  root = words.root == "yes",
  cgroups = words.cgroups == "yes",
  hogs = tonumber(words.hogs),       -- seconds between two handlers that hold the loop
}

---A command: the actor, as no job.
---@param ... string|number
---@return string[]
function place.extra(...)
  local argv = { place.actor, place.state .. "/states", "0", "extra" }
  for _, word in ipairs { ... } do argv[#argv + 1] = tostring(word) end
  return argv
end

return place
