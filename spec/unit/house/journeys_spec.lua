-- docs/architecture.md draws the house, and two journeys through it. Whoever follows one opens each file that it names:
-- so each of them is there, with the functions that stand behind its name. The plan shows every room and every wing.
-- CONTRIBUTING.md says where a change starts, and which classes are in two files: those files are there, and no others.

local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local page = assert(read "docs/architecture.md")

local function blocks(text)
  local list = {}
  for block in text:gmatch "\n```\n(.-)\n```" do list[#list + 1] = block end
  return list
end

-- " job/runner.lua: route, on_event.exit     an input …": { { "job/runner.lua", "route" }, … }.
local function hops(block)
  local list = {}
  for path, rest in block:gmatch "([%w_/]+%.%l+): ([^\n]*)" do
    local names = rest:match "^(.-)%s%s" or rest
    for name in names:gmatch "[^,%s]+" do list[#list + 1] = { path = path, name = name } end
  end
  return list
end

-- "static int turn(struct loop *loop, bool block) {" at the beginning of a line, in one line or several.
local function is_defined_in_c(text, name)
  return text:find("\n%a[^\n;=()]-%f[%w_]" .. name .. "%b()%s*{") ~= nil
end

-- "local function turn(", "function Loop:turn(", "turn = function(".
local function is_defined_in_lua(text, name)
  local plain = name:gsub("%p", "%%%0")
  return text:find("%f[%w]function " .. plain .. "%(") ~= nil
    or text:find("\n[%s%a]*%f[%w_]" .. plain .. " = function%(") ~= nil
end

-- What is wrong with a hop, or nil.
local function fault(hop)
  local is_c = hop.path:find "%.c$"
  local text = read((is_c and "src/" or "lua/luapilot/") .. hop.path)
  if not text then return hop.path .. ": no such file" end
  if (is_c and is_defined_in_c or is_defined_in_lua)("\n" .. text, hop.name) then return nil end
  return hop.path .. ": no function " .. hop.name
end

local function faults(block)
  local list = {}
  for _, hop in ipairs(hops(block)) do list[#list + 1] = fault(hop) end
  return list
end

-- Directories with sources, of the house's two halves: "job/", "sim/consul/" …
local function rooms(root, pattern)
  local list = {}
  local pipe = assert(io.popen(("ls -d %s/%s"):format(root, pattern)))
  for path in pipe:lines() do list[#list + 1] = path:sub(#root + 2) end
  pipe:close()
  return list
end

local function undrawn(plan, root)
  local list = {}
  for _, room in ipairs(rooms(root, "*/")) do
    if not plan:find("\n " .. room .. " +%S") then list[#list + 1] = root .. "/" .. room end
  end
  return list
end

describe("the plan of the house", function()
  local plan = blocks(page)[1]
  local c, lua = plan:match "^(.-)═══(.*)$"

  it("shows every wing of src", function() assert.same({}, undrawn(c, "src")) end)

  it("shows every room of lua/luapilot", function() assert.same({}, undrawn(lua, "lua/luapilot")) end)

  it("fits on a screen", function()
    assert.is_true(select(2, plan:gsub("\n", "\n")) < 45)
    for line in plan:gmatch "[^\n]+" do
      assert.is_true(select(2, line:gsub("[^\128-\191]", "")) <= 100, line)
    end
  end)
end)

describe("a journey through the house", function()
  local journeys = blocks(assert(page:match "\n## Two journeys\n(.-)\n## "))

  it("passes functions that are there", function()
    assert.equal(2, #journeys)
    for _, journey in ipairs(journeys) do
      assert.is_true(#hops(journey) > 40, "the hops are not found any more")
      assert.same({}, faults(journey))
    end
  end)

  it("is not drawn through a file or a function that has gone", function()
    assert.same({ "job/lines.lua: no such file" }, faults " job/lines.lua: take   words")
    assert.same({ "job/machine.lua: no function nobody" }, faults " job/machine.lua: begin, nobody   words")
    assert.same({ "loop/loop.c: no function epoll_wait" }, faults " loop/loop.c: turn, epoll_wait   it calls that")
    assert.same({ "consul/watch.c: no function tel" }, faults " consul/watch.c: tel, tell, go_on")
  end)
end)

describe("CONTRIBUTING.md", function()
  local text = assert(read "CONTRIBUTING.md")

  local function is_there(path)
    return read("lua/luapilot/" .. path) or read("src/" .. path) or read(path)
  end

  it("says where a change starts: in files that are there", function()
    local table_of, missing, rows = assert(text:match "\n### Where a change starts\n(.-)\nOne direction"), {}, 0
    for change, start in table_of:gmatch "\n| ([^|]+) | ([^|]+) |" do
      local path, name = start:match "`([%w_/]+%.%l+)", start:match "%.lua: ([%w_]+)`"
      if path then
        rows = rows + 1
        if not is_there(path) then missing[#missing + 1] = change .. path end
        if name then missing[#missing + 1] = fault { path = path, name = name } end
      end
    end
    assert.same({}, missing)
    assert.is_true(rows >= 20, "the rows are not found any more")
  end)

  -- A class whose other methods come with lazy.methods; of the table `pilot` those that stand in ELSEWHERE.
  it("names each class that is in two files, and says with which", function()
    local pairs_told, pairs_there = {}, {}
    for first, second in text:gmatch "\n| [^|]+ | `([%w_/]+)%.lua` | `([%w_/]+)%.lua` |" do
      pairs_told[first .. " " .. second] = true
    end
    for path in io.popen("grep -rlE '^ *lazy.methods\\(|^local ELSEWHERE' lua"):lines() do
      local first, code = path:match "^lua/luapilot/(.*)%.lua$", read(path)
      for source in code:gmatch 'lazy%.methods(%b())' do
        local module = source:match 'lazy%.load%(?%s*"luapilot%.([%w_.]+)"'
        if module then pairs_there[first .. " " .. module:gsub("%.", "/")] = true end
      end
      for module in code:gmatch '%["luapilot%.([%w_.]+)"%] = ' do -- of init.lua: by module
        pairs_there[first .. " " .. module:gsub("%.", "/")] = true
      end
    end
    assert.same(pairs_there, pairs_told)
  end)
end)
