-- What no spec may do, because it works on one machine and not on another: skip where busted cannot take it, bet on how
-- long something takes, send a signal again that the kernel may make one with the first. Texts are looked at, so what
-- is found can be meant otherwise; then write it so that no reader wonders either.

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- Spaces for what a Lua comment says, so that lines keep their numbers and columns.
local function without_comments(text)
  return (text:gsub("%-%-[^\n]*", function(comment) return (" "):rep(#comment) end))
end

local function line_of(text, position) return select(2, text:sub(1, position - 1):gsub("\n", "")) + 1 end

-- --- who skips ---------------------------------------------------------------------------------------

local SKIPS = { "%f[%w_.:]pending%f[^%w_]", "machine%.skip%f[^%w_]", "machine%.need" }
local AROUND = { "before_each", "after_each", "setup", "teardown", "lazy_setup", "lazy_teardown", "strict_setup",
  "strict_teardown" }

-- Each function that has a name, with its text: as it is indented, it ends.
local function functions_of(text)
  local list, open = {}, {}
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local indent, name = line:match "^( *)function ([%w_.:]+)%("
    if not name then indent, name = line:match "^( *)local function ([%w_]+)%(" end
    if name then
      open[#open + 1] = { name = name, last = indent .. "end", lines = {} }
      list[#list + 1] = open[#open]
    end
    for _, each in ipairs(open) do table.insert(each.lines, line) end
    while open[1] and (line == open[#open].last or name and line:find "%f[%w]end%)*$") do
      table.remove(open)
      name = nil
    end
  end
  for _, each in ipairs(list) do each.text = table.concat(each.lines, "\n") end
  return list
end

local function skips(text, skippers)
  for _, pattern in ipairs(SKIPS) do
    if text:find(pattern) then return true end
  end
  for name in text:gmatch "[%a_][%w_.:]*" do
    if skippers[name] then return true end
  end
  return false
end

-- The functions that skip, or call one that does, by what they are called: need_root, example.run_image.
local function skippers_among(functions, known)
  local names, more = setmetatable({}, { __index = known }), true
  while more do
    more = false
    for _, each in ipairs(functions) do
      local body = each.text:gsub("^[^\n(]*", "", 1)
      if not names[each.name] and not each.name:find "^machine%." and skips(body, names) then
        names[each.name], more = true, true
      end
    end
  end
  return names
end

local function skipped_around(text, known)
  local found, skippers = {}, skippers_among(functions_of(text), known)
  for _, name in ipairs(AROUND) do
    for position, body in text:gmatch("()%f[%w_]" .. name .. "(%b())") do
      if skips(body, skippers) then found[#found + 1] = ("%d: %s skips"):format(line_of(text, position), name) end
    end
  end
  return found
end

-- --- who bets ----------------------------------------------------------------------------------------

-- A moment less another one is a time; that it is short can be hoped for only.
local TIMES = { "now%(%) *%- *[%w_.]+ *<", "clock%(%) *%- *[%w_.]+ *<", "elapsed *<", "seconds[%w_)]* *< *%d",
  "now%(%) *< *[%w_]+ *%+" }

local function bets(text)
  local found = {}
  for _, pattern in ipairs(TIMES) do
    for position in text:gmatch("()" .. pattern) do
      found[#found + 1] = ("%d: a bound on the time that something takes"):format(line_of(text, position))
    end
  end
  return found
end

-- The same signal to the same process, with nothing in between.
local function doubles(text)
  local found, number, last = {}, 0, nil
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local sent = line:match "^%s*([%w_.]+:signal.+)$"
    if sent and sent == last then found[#found + 1] = number .. ": a signal that may become one with that before it" end
    if line:find "%S" then last = sent end
  end
  return found
end

-- --- the specs of that -------------------------------------------------------------------------------

local function paths(command)
  local list = {}
  for path in io.popen(command):lines() do list[#list + 1] = path end
  assert(#list > 0, command)
  return list
end

local FILES = paths "find spec -name '*_spec.lua' ! -path spec/unit/house/specs_spec.lua | LC_ALL=C sort"

local function complaints(pattern, look)
  local list = {}
  for _, path in ipairs(FILES) do
    for _, found in ipairs(path:find(pattern) and look(without_comments(read(path))) or {}) do
      list[#list + 1] = path .. ":" .. found
    end
  end
  return list
end

local function skippers_of_support()
  local functions = {}
  for _, path in ipairs(paths "ls spec/support/*.lua") do
    for _, each in ipairs(functions_of(without_comments(read(path)))) do functions[#functions + 1] = each end
  end
  return skippers_among(functions)
end

describe("a spec", function()
  it("skips in an `it` only: see spec/support/machine.lua", function()
    local known = skippers_of_support()
    assert.is_true(known["example.run_image"])
    assert.same({}, complaints("", function(text) return skipped_around(text, known) end))
  end)

  it("bets on no time: what must be soon comes before something that takes an hour", function()
    assert.same({}, complaints("", bets))
  end)

  it("sends a signal twice only when the first was taken: see deliver in spec/support/run.lua", function()
    assert.same({}, complaints("^spec/[ci]", doubles)) -- a simulated one is always taken
  end)
end)

describe("this spec finds", function()
  it("who skips before a spec, also by way of others", function()
    assert.same({ "1: before_each skips" }, skipped_around 'before_each(function() machine.skip "x" end)')
    assert.same({ "2: setup skips" }, skipped_around '\nsetup(function() pending "x" end)')
    assert.same({ "6: before_each skips" }, skipped_around [[
local function need_root() machine.need "su" end
local function begin()
  if not begun then need_root() end
end

before_each(begin)]])
    local known = skippers_among(functions_of "function kit.start(n)\n  if n then\n    machine.skip 'x'\n  end\nend\n")
    assert.same({ "1: before_each skips" }, skipped_around("before_each(function() kit.start() end)", known))
    assert.same({}, skipped_around('before_each(function() kit.stop(b:pending()) end)', known))
    assert.same({}, skipped_around 'it("x", function() machine.skip "x" end) before_each(function() a.start() end)')
  end)

  it("who bets on a time", function()
    assert.same({ "1: a bound on the time that something takes" }, bets "assert.is_true(port.now() - before < 1)")
    assert.same({ "1: a bound on the time that something takes" }, bets "assert(os.clock() - start < 0.5)")
    assert.same({}, bets "assert.is_true(port.now() - before >= 0.5)")
  end)

  it("who sends a signal twice", function()
    local twice = 'p:signal "SIGTERM"\n p:signal "SIGTERM"'
    assert.same({ "2: a signal that may become one with that before it" }, doubles(twice))
    assert.same({}, doubles 'p:signal "SIGTERM"\np:wait_for_line "told"\np:signal "SIGTERM"')
    assert.same({}, doubles 'p:deliver "SIGTERM"\np:signal "SIGTERM"')
  end)
end)
