-- report: a spec that fails tells what its boxes did.
--
-- Busted lets a file rewrite the messages of its errors. Here a failed spec's message gets what is wrong in its boxes
-- and the last lines of their history, with the seed and the command that runs it again. The message itself carries
-- it, so it is there in every output of busted, with `luapilot test` and without. Specs that pass print nothing.
--
-- It owns the list of the worlds of the spec that runs. Without busted it does nothing.

local report = {}

local LINES = 50

local current = {}   -- the worlds of the spec that runs, in the order in which they were made
local over = false   -- the spec has ended: the next world belongs to the next one
local told = {}      -- worlds whose story was told already: a failing after_each says no more than the spec before it
local open           -- what was hooked into busted, until the file has ended

local function is_listed(world)
  for _, other in ipairs(current) do
    if other == world then return true end
  end
  return false
end

local function forget() current, told, over = {}, {}, false end

-- --- the text ------------------------------------------------------------------------------------

---The command that runs a spec file again with the same seed.
---@param seed integer
---@param path string?
---@return string
function report.again(seed, path)
  local program = _G.arg and _G.arg[0] == "luapilot test" and "luapilot test" or "busted"
  return ("LUAPILOT_SEED=%d %s%s"):format(seed, program, path and " " .. path or "")
end

-- What is wrong in a box and not in the message.
local function new_errors(box, message)
  local lines = {}
  for _, err in ipairs(box:errors()) do
    if not message:find(err, 1, true) then lines[#lines + 1] = "error: " .. err end
  end
  return lines
end

local function story_of(world, message, path)
  local parts = {}
  for _, box in ipairs(world.boxes) do
    for _, line in ipairs(new_errors(box, message)) do parts[#parts + 1] = line end
    if not message:find("--- " .. box.name .. " (seed", 1, true) then parts[#parts + 1] = box:history(LINES) end
  end
  if #parts == 0 then return nil end
  parts[#parts + 1] = "Again: " .. report.again(world.seed, path)
  return table.concat(parts, "\n")
end

---The message of a failed spec, with the stories of its worlds that were not told yet.
---@param message string
---@param path string?      of the spec file
---@return string
function report.extend(message, path)
  local parts = { message }
  for _, world in ipairs(current) do
    local story = not told[world] and story_of(world, message, path)
    told[world] = true
    if story then parts[#parts + 1] = story end
  end
  return table.concat(parts, "\n\n")
end

-- --- busted --------------------------------------------------------------------------------------

-- Messages are rewritten by the file that an element belongs to.
local function hook(busted, element)
  while element and element.descriptor ~= "file" do element = busted.parent(element) end
  local run = element and element.run
  if type(run) ~= "table" or open.run == run then return end
  local before = run.rewriteMessage
  open.run, open.before = run, before
  run.rewriteMessage = function(path, message)
    return report.extend(before and before(path, message) or message, path)
  end
end

local function release(busted)
  for _, one in ipairs(open.subscriptions) do busted.unsubscribe(one.id, one.channel) end
  if open.run then open.run.rewriteMessage = open.before end
  open = nil
  forget()
end

-- Not taken back, as the others are: busted walks the list of these when it ends. So it holds nothing.
local function at_end(busted, fn)
  busted.subscribe({ "file", "end" }, function()
    local once = fn
    fn = nil
    if once then once(busted) end
    return nil, true
  end)
end

local function attach()
  local busted = package.loaded.busted
  if open or type(busted) ~= "table" or not busted.subscribe then return end
  open = { subscriptions = {} }
  local function on(channel, fn)
    local subscriber = busted.subscribe(channel, function(element)
      fn(element)
      return nil, true
    end)
    open.subscriptions[#open.subscriptions + 1] = { id = subscriber.id, channel = channel }
  end
  on({ "describe", "start" }, function(element) hook(busted, element) end)
  on({ "test", "start" }, function(element)
    hook(busted, element)
    if over then forget() end -- no world was made for it by a before_each
  end)
  on({ "test", "end" }, function() over = true end)
  at_end(busted, release)
end

---A world of the spec that runs: made, or moved (one of a `setup` serves many specs).
---@param world luapilot.sim.World
function report.watch(world)
  attach()
  if not open then return end
  if over then forget() end
  current[#current + 1] = world
  world.on_rest = function()
    if not is_listed(world) then current[#current + 1] = world end
  end
end

attach()

return report
