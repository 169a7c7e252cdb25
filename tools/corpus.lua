-- Chooses the inputs that a corpus keeps, from what libFuzzer's -merge_control_file says of each.
--
--   luajit tools/corpus.lua build/fuzz/load.control 45 60000      at most 45 inputs of 60000 bytes in all
--
-- Greedy: again and again the input that reaches most of what none before it reached, for its size. Prints paths.

local control, most, bytes = arg[1], tonumber(arg[2]), tonumber(arg[3])
local OVERHEAD = 100 -- bytes that a file costs by being one

local lines = io.lines(control)
local count = tonumber(lines())
lines() -- how many of them are in the first corpus
local inputs = {}
for i = 1, count do inputs[i] = { path = lines(), features = {}, size = 0 } end
for line in lines do
  local kind, number, rest = line:match "^(%u+) (%d+)(.*)$"
  local input = inputs[tonumber(number) + 1]
  if kind == "STARTED" then input.size = tonumber(rest) end
  if kind == "FT" then
    for feature in rest:gmatch "%d+" do input.features[#input.features + 1] = feature end
  end
end

local reached = {}

local function gain(input)
  local new = 0
  for _, feature in ipairs(input.features) do
    if not reached[feature] then new = new + 1 end
  end
  return new / (input.size + OVERHEAD)
end

local function best()
  local found, value = nil, 0
  for i, input in ipairs(inputs) do
    local this = input.size <= bytes and gain(input) or 0
    if this > value then found, value = i, this end
  end
  return found
end

for _ = 1, most do
  local i = best()
  if not i then break end
  local input = table.remove(inputs, i)
  for _, feature in ipairs(input.features) do reached[feature] = true end
  bytes = bytes - input.size
  print(input.path)
end
