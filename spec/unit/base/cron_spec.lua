local cron = require "luapilot.base.cron"

-- Central European time, from its rule: no time zone of the machine is used.
local DAY = 86400
local UTC = { date = function(epoch) return os.date("!*t", epoch) end }

local function utc(year, month, day, hour, min)
  local days = 0
  for y = 1970, year - 1 do days = days + (y % 4 == 0 and (y % 100 ~= 0 or y % 400 == 0) and 366 or 365) end
  local february = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) and 29 or 28
  local lengths = { 31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
  for m = 1, month - 1 do days = days + lengths[m] end
  return (days + day - 1) * DAY + (hour or 0) * 3600 + (min or 0) * 60
end

local function last_sunday(year, month)
  local day = utc(year, month, 31) / DAY
  return day - (day + 4) % 7
end

local BERLIN = {
  date = function(epoch)
    local year = os.date("!*t", epoch).year
    local summer = epoch >= last_sunday(year, 3) * DAY + 3600 and epoch < last_sunday(year, 10) * DAY + 3600
    return os.date("!*t", epoch + (summer and 7200 or 3600))
  end,
}

local function series(spec, from, count, calendar)
  local schedule, times = assert(cron.parse(spec)), {}
  local moment = from
  for i = 1, count do
    moment = cron.next(schedule, moment, calendar or UTC)
    times[i] = os.date("!%m-%d %H:%M", moment)
  end
  return times
end

local function refused(spec)
  local schedule, message = cron.parse(spec)
  assert.is_nil(schedule)
  return message
end

describe("cron", function()
  local monday = utc(2024, 1, 1)

  it("comes at the times of its fields", function()
    assert.same({ "01-01 00:01", "01-01 00:02" }, series("* * * * *", monday, 2))
    assert.same({ "01-01 03:00", "01-02 03:00" }, series("0 3 * * *", monday, 2))
    assert.same({ "01-01 00:20", "01-01 00:40", "01-01 01:00" }, series("*/20 * * * *", monday, 3))
    assert.same({ "01-01 10:05", "01-01 10:35", "01-01 14:05" }, series("5-59/30 10,14 * * *", monday, 3))
    assert.same({ "01-05 09:00", "01-08 09:00" }, series("0 9 * * mon-fri", utc(2024, 1, 4, 12), 2))
    assert.same({ "06-01 00:00", "07-01 00:00" }, series("0 0 1 JUN-jul *", monday, 2))
  end)

  it("is strictly later", function()
    local schedule = cron.parse "0 3 * * *"
    local three = utc(2024, 1, 1, 3)
    assert.equal(three, cron.next(schedule, three - 1, UTC))
    assert.equal(three, cron.next(schedule, three - 0.5, UTC))
    assert.equal(three + DAY, cron.next(schedule, three, UTC))
  end)

  it("takes 0 and 7 for Sunday", function()
    for _, spec in ipairs { "0 0 * * 0", "0 0 * * 7", "0 0 * * sun" } do
      assert.same({ "01-07 00:00", "01-14 00:00" }, series(spec, monday, 2))
    end
    assert.same({ "01-06 00:00", "01-07 00:00", "01-13 00:00" }, series("0 0 * * sat-sun", monday, 3))
    assert.same({ "01-05 00:00", "01-06 00:00", "01-07 00:00", "01-12 00:00" }, series("0 0 * * 5-7",
      monday, 4))
  end)

  it("joins a restricted day and a restricted weekday by or", function()
    assert.same({ "01-05 00:00", "01-12 00:00", "01-13 00:00", "01-19 00:00" }, series("0 0 13 * fri",
      monday, 4))
    assert.same({ "01-13 00:00", "02-13 00:00" }, series("0 0 13 * *", monday, 2))
    assert.same({ "01-05 00:00", "01-19 00:00", "02-09 00:00" }, series("0 0 */2 * fri", monday, 3))
  end)

  it("knows the names", function()
    assert.same({ "01-01 01:00" }, series("@hourly", monday, 1))
    assert.same({ "01-02 00:00" }, series("@daily", monday, 1))
    assert.same({ "01-07 00:00" }, series("@weekly", monday, 1))
    assert.same({ "02-01 00:00" }, series("@monthly", monday, 1))
    assert.equal(utc(2025, 1, 1), cron.next(cron.parse "@yearly", monday, UTC))
  end)

  it("finds what is rare", function()
    assert.equal(utc(2028, 2, 29), cron.next(cron.parse "0 0 29 2 *", utc(2024, 3, 1), UTC))
    assert.equal(utc(2104, 2, 29), cron.next(cron.parse "0 0 29 2 *", utc(2096, 3, 1), UTC))
    assert.equal(utc(2032, 2, 29), cron.next(cron.parse "0 0 29 2 */7", utc(2024, 3, 1), UTC))
  end)

  it("agrees with a search minute by minute", function()
    for _, spec in ipairs { "7,23 */5 1-20 * *", "*/13 4 * feb tue", "0 0 31 * *", "59 23 28-31 2,4 1" } do
      local schedule, from = cron.parse(spec), utc(2024, 1, 30, 22, 17)
      local moment = from
      repeat
        moment = moment + 60
        local d = UTC.date(moment)
        local by_day, by_weekday = schedule.day[d.day], schedule.weekday[d.wday - 1]
        local day = by_day and by_weekday
        if schedule.either then day = by_day or by_weekday end
      until schedule.minute[d.min] and schedule.hour[d.hour] and schedule.month[d.month] and day
      assert.equal(moment, cron.next(schedule, from, UTC), spec)
    end
  end)

  describe("in spring", function()
    local before = utc(2024, 3, 30, 12) -- the gap: 2024-03-31 02:00 → 03:00, 01:00 UTC

    it("runs a skipped time once, at the first moment after the gap", function()
      assert.same({ "03-31 01:00", "04-01 00:30" }, series("30 2 * * *", before, 2, BERLIN))
      assert.same({ "03-31 01:00", "04-01 00:00" }, series("*/20 2 * * *", before, 2, BERLIN))
      assert.same({ "03-31 01:00", "04-01 00:00" }, series("0 2,3 * * *", before, 2, BERLIN))
    end)

    it("keeps the pace of what runs every hour", function()
      assert.same({ "03-31 00:30", "03-31 01:30", "03-31 02:30" },
        series("30 * * * *", utc(2024, 3, 31), 3, BERLIN))
    end)
  end)

  describe("in autumn", function()
    local before = utc(2024, 10, 26, 12) -- the hour from 02:00 comes twice: from 00:00 and from 01:00 UTC

    it("runs a repeated time once", function()
      assert.same({ "10-27 00:30", "10-28 01:30" }, series("30 2 * * *", before, 2, BERLIN))
      assert.same({ "10-27 00:00", "10-27 02:00", "10-28 01:00" }, series("0 2,3 * * *", before, 3, BERLIN))
      assert.equal(utc(2024, 10, 28, 1, 30), cron.next(cron.parse "30 2 * * *", utc(2024, 10, 27, 1, 10),
        BERLIN))
    end)

    it("keeps the pace of what runs every hour", function()
      assert.same({ "10-27 00:00", "10-27 00:30", "10-27 01:00", "10-27 01:30", "10-27 02:00" },
        series("*/30 * * * *", utc(2024, 10, 26, 23, 45), 5, BERLIN))
    end)
  end)

  it("uses the container's time zone by default", function()
    local now = os.time { year = 2024, month = 5, day = 5, hour = 12 }
    local d = os.date("*t", cron.next(cron.parse "15 14 * * *", now))
    assert.same({ 5, 14, 15, 0 }, { d.day, d.hour, d.min, d.sec })
  end)

  it("names the field and the text that is wrong", function()
    local cases = {
      { "0 25 * * *", 'hour: "25" is not within 0-23' },
      { "60 * * * *", 'minute: "60" is not within 0-59' },
      { "0 0 0 * *", 'day of the month: "0" is not within 1-31' },
      { "0 0 * 13 *", 'month: "13" is not within 1-12' },
      { "0 0 * * 8", 'weekday: "8" is not within 0-7' },
      { "* * * foo *", 'month: "foo" is no number or a name such as "jan"' },
      { "* * * * fri-foo", 'weekday: "foo" is no number or a name such as "mon"' },
      { "x * * * *", 'minute: "x" is no number' },
      { "5/10 * * * *", 'minute: "5/10" needs a range before the step: write "5-59/10"' },
      { "*/0 * * * *", 'minute: "*/0" has no step: behind the / belongs a number from 1' },
      { "*/ * * * *", 'minute: "*/" has no step: behind the / belongs a number from 1' },
      { "0 22-2 * * *", 'hour: "22-2" runs backwards: write two ranges' },
      { "1,,2 * * * *", 'minute: "1,,2" has an empty item' },
      { "-5 * * * *", 'minute: "-5" is no number' },
      { "* * * *", "expected five fields (minute, hour, day, month, weekday), got 4" },
      { "0 * * * * *", "expected five fields (minute, hour, day, month, weekday), got 6" },
      { "", "expected five fields (minute, hour, day, month, weekday), got 0" },
      { "@reboot", "unknown name (valid: @hourly, @daily, @weekly, @monthly, @yearly)" },
      { "0 0 30 2 *", "the day of the month 30 never comes in month 2" },
      { "0 0 31 4,6 *", "the day of the month 31 never comes in month 4,6" },
    }
    for _, case in ipairs(cases) do
      assert.equal(('cron "%s": %s'):format(case[1], case[2]), refused(case[1]))
    end
    assert.equal('expected a cron schedule such as "0 3 * * *", got a number: 5', refused(5))
  end)

  it("accepts a day that never comes beside a weekday that does", function()
    assert.same({ "02-02 00:00" }, series("0 0 30 2 fri", monday, 1))
  end)
end)
