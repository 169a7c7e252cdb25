-- Cron schedules: "0 3 * * *" and the next time it comes.
--
-- Owns the five fields and the calendar arithmetic. Never sleeps and reads no clock: the epoch and the
-- calendar come in. A schedule is plain data.
--
-- The day rule is cron's: when both the day of the month and the weekday are restricted (do not begin with
-- "*"), a day matches if either does.
--
-- Summer time: a schedule with given hours runs once for a skipped time (at the first moment after the gap)
-- and once for a repeated one (at its first coming). A schedule for every hour ("*/10 * * * *") follows the
-- real clock instead, so that its runs stay evenly apart.

local describe = require "luapilot.base.describe"

local M = {}

---@class luapilot.Calendar
---@field date fun(epoch: number): table as os.date("*t", epoch)
---@field time? fun(fields: table): number not needed: the offset follows from `date`

---@class luapilot.CronSchedule
---@field spec string
---@field minute boolean[] by number
---@field hour boolean[]
---@field day boolean[]
---@field month boolean[]
---@field weekday boolean[] 0 is Sunday
---@field either boolean a day matches by its date or by its weekday
---@field every_hour boolean

local DAY = 86400
local FAR = 50 * 366 -- days; 29 February on a given weekday may be 40 years away

local MONTHS = { jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9, oct = 10,
  nov = 11, dec = 12 }
local WEEKDAYS = { sun = 0, mon = 1, tue = 2, wed = 3, thu = 4, fri = 5, sat = 6 }

local FIELDS = {
  { key = "minute", label = "minute", min = 0, max = 59 },
  { key = "hour", label = "hour", min = 0, max = 23 },
  { key = "day", label = "day of the month", min = 1, max = 31 },
  { key = "month", label = "month", min = 1, max = 12, names = MONTHS, example = "jan" },
  { key = "weekday", label = "weekday", min = 0, max = 7, names = WEEKDAYS, example = "mon" },
}

local MACROS = {
  ["@hourly"] = "0 * * * *", ["@daily"] = "0 0 * * *", ["@midnight"] = "0 0 * * *", ["@weekly"] = "0 0 * * 0",
  ["@monthly"] = "0 0 1 * *", ["@yearly"] = "0 0 1 1 *", ["@annually"] = "0 0 1 1 *",
}

local MONTH_DAYS = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

-- ---------------------------------------------------------------------------------------------- reading

local function number_in(field, text)
  local number = field.names and field.names[text:lower()] or text:match "^%d+$" and tonumber(text)
  if not number then
    local names = field.example and " or a name such as " .. describe.quote(field.example) or ""
    return nil, ("%s is no number%s"):format(describe.quote(text), names)
  end
  if number < field.min or number > field.max then
    return nil, ("%s is not within %d-%d"):format(describe.quote(text), field.min, field.max)
  end
  return number
end

---The first and last value of "*", "5" or "1-5".
local function range_in(field, text)
  if text == "*" then return field.min, field.max end
  local from, to = text:match "^(%w+)%-(%w+)$"
  local low, message = number_in(field, from or text)
  if not low then return nil, message end
  if not to then return low, low end
  local high, why = number_in(field, to)
  if not high then return nil, why end
  if high == 0 and field.names == WEEKDAYS then high = 7 end -- "sat-sun"
  if high < low then return nil, ("%s runs backwards: write two ranges"):format(describe.quote(text)) end
  return low, high
end

local function add_item(field, item, set)
  local range, step = item:match "^(.-)/(.*)$"
  local low, high = range_in(field, range or item)
  if not low then return nil, high end
  if step then
    if not step:find "^%d+$" or tonumber(step) < 1 then
      return nil, ("%s has no step: behind the / belongs a number from 1"):format(describe.quote(item))
    end
    if not range:find "[*-]" then
      return nil, ('%s needs a range before the step: write "%s-%d/%s"')
        :format(describe.quote(item), range, field.max, step)
    end
  end
  for value = low, high, tonumber(step) or 1 do
    set[field.names == WEEKDAYS and value % 7 or value] = true
  end
  return true
end

local function parse_field(field, text)
  local set = {}
  for item in (text .. ","):gmatch "(.-)," do
    if item == "" then return nil, ("%s has an empty item"):format(describe.quote(text)) end
    local ok, message = add_item(field, item, set)
    if not ok then return nil, message end
  end
  return set
end

local function ever_comes(schedule)
  if schedule.either then return true end
  for month = 1, 12 do
    for day = 1, schedule.month[month] and MONTH_DAYS[month] or 0 do
      if schedule.day[day] then return true end
    end
  end
  return false
end

local function full(set, min, max)
  for value = min, max do
    if not set[value] then return false end
  end
  return true
end

local function refuse(spec, format, ...)
  return nil, ("cron %s: "):format(describe.quote(spec)) .. format:format(...)
end

---Reads a schedule.
---@param spec any "0 3 * * *" or "@daily"
---@return luapilot.CronSchedule|nil
---@return string|nil message
function M.parse(spec)
  if type(spec) ~= "string" then
    return nil, ('expected a cron schedule such as "0 3 * * *", got %s'):format(describe.value(spec))
  end
  local texts = {}
  for text in (MACROS[spec] or spec):gmatch "%S+" do texts[#texts + 1] = text end
  if texts[1] and texts[1]:sub(1, 1) == "@" then
    return refuse(spec, "unknown name (valid: @hourly, @daily, @weekly, @monthly, @yearly)")
  end
  if #texts ~= 5 then
    return refuse(spec, "expected five fields (minute, hour, day, month, weekday), got %d", #texts)
  end
  local schedule = { spec = spec }
  for i, field in ipairs(FIELDS) do
    local set, message = parse_field(field, texts[i])
    if not set then return refuse(spec, "%s: %s", field.label, message) end
    schedule[field.key] = set
  end
  schedule.either = texts[3]:sub(1, 1) ~= "*" and texts[5]:sub(1, 1) ~= "*"
  schedule.every_hour = full(schedule.hour, 0, 23)
  if not ever_comes(schedule) then
    return refuse(spec, "the day of the month %s never comes in month %s", texts[3], texts[4])
  end
  return schedule
end

-- ---------------------------------------------------------------------------------- calendar arithmetic

-- Days since 1970-01-01 and back, in the Gregorian calendar; years begin in March, so leap days come last.
local function day_number(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local year_of_era = year - era * 400
  local day_of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  local leap_days = math.floor(year_of_era / 4) - math.floor(year_of_era / 100)
  return era * 146097 + year_of_era * 365 + leap_days + day_of_year - 719468
end

local function month_and_day(number)
  local day_of_era = (number + 719468) % 146097
  local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524)
    - math.floor(day_of_era / 146096)) / 365)
  local day_of_year = day_of_era
    - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local shifted = math.floor((5 * day_of_year + 2) / 153)
  return (shifted + 2) % 12 + 1, day_of_year - math.floor((153 * shifted + 2) / 5) + 1
end

local function matches_day(schedule, number)
  local month, day = month_and_day(number)
  if not schedule.month[month] then return false end
  local by_day, by_weekday = schedule.day[day], schedule.weekday[(number + 4) % 7]
  if schedule.either then return by_day or by_weekday end
  return by_day and by_weekday
end

-- What the wall clock shows, counted as if it were UTC.
local function wall(calendar, epoch)
  local d = calendar.date(epoch)
  return day_number(d.year, d.month, d.day) * DAY + d.hour * 3600 + d.min * 60 + d.sec
end

local function offset(calendar, epoch) return wall(calendar, epoch) - epoch end

---The first moment at which the offset is no longer `before`, between two moments.
local function change(calendar, low, high, before)
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if offset(calendar, middle) == before then low = middle else high = middle end
  end
  return high
end

---The epochs at which the wall clock shows `shown` on a day on which it is put forward or back.
local function add_moments(moments, schedule, calendar, shown, before, after)
  local early, late = shown - math.max(before, after), shown - math.min(before, after)
  local first = offset(calendar, early) == shown - early
  local second = offset(calendar, late) == shown - late
  if first then moments[#moments + 1] = early end
  if second and (not first or schedule.every_hour) then moments[#moments + 1] = late end
  if not first and not second and not schedule.every_hour then
    moments[#moments + 1] = change(calendar, early - DAY, late + DAY, before)
  end
end

---All moments of one day, in order.
local function moments_of(schedule, calendar, number)
  local start, moments = number * DAY, {}
  local before, after = offset(calendar, start - DAY), offset(calendar, start + 2 * DAY)
  for hour = 0, 23 do
    for minute = 0, schedule.hour[hour] and 59 or -1 do
      if schedule.minute[minute] then
        local shown = start + hour * 3600 + minute * 60
        if before == after then
          moments[#moments + 1] = shown - before
        else
          add_moments(moments, schedule, calendar, shown, before, after)
        end
      end
    end
  end
  table.sort(moments)
  return moments
end

local LOCAL = { date = function(epoch) return os.date("*t", epoch) end, time = os.time }

---The next time of a schedule, strictly after `epoch`.
---@param schedule luapilot.CronSchedule
---@param epoch number
---@param calendar? luapilot.Calendar default: the container's time zone
---@return number|nil epoch nil only for a schedule that `parse` would have refused
function M.next(schedule, epoch, calendar)
  calendar = calendar or LOCAL
  local today = math.floor(wall(calendar, math.floor(epoch)) / DAY)
  for number = today, today + FAR do
    if matches_day(schedule, number) then
      for _, moment in ipairs(moments_of(schedule, calendar, number)) do
        if moment > epoch then return moment end
      end
    end
  end
  return nil
end

return M
