/* time_text.c: the civil calendar and RFC 3339, in whole microseconds.
 *
 * Days are counted in years that begin in March: the leap day is then the last day of a year, and the days
 * before a month are a linear function of the month. 400 such years (an era) have 146,097 days. */
#include "number.h"

#include "decimal.h"

static const int64_t US_PER_SECOND = 1000000;
static const int64_t US_PER_DAY = 86400000000;
/* From 0000-03-01 to 1970-01-01. */
enum { DAYS_TO_1970 = 719468, DAYS_PER_ERA = 146097, YEARS_PER_ERA = 400, MINUTES_PER_DAY = 1440 };

static int64_t floor_divide (int64_t a, int64_t b) { return a / b - (a % b < 0); }

static int64_t days_from_civil (int64_t year, int32_t month, int32_t day) {
    year -= month <= 2;
    int64_t era = floor_divide (year, YEARS_PER_ERA);
    int64_t year_of_era = year - era * YEARS_PER_ERA;
    int64_t month_from_march = (month + 9) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - DAYS_TO_1970;
}

static void civil_from_days (int64_t days, civil_t *civil) {
    civil->weekday = (int32_t) (days + 3 - 7 * floor_divide (days + 3, 7)); /* 1970-01-01 was a Thursday */
    days += DAYS_TO_1970;
    int64_t era = floor_divide (days, DAYS_PER_ERA);
    int64_t day_of_era = days - era * DAYS_PER_ERA;
    /* Take out the leap days that went by: every 1,461st day, but not every 36,525th, but the last of the
     * era. */
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    civil->day = (int32_t) (day_of_year - (153 * month_from_march + 2) / 5 + 1);
    civil->month = (int32_t) (month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    civil->year = era * YEARS_PER_ERA + year_of_era + (civil->month <= 2);
}

civil_t civil_from_us (int64_t us) {
    civil_t civil;
    int64_t left = us % US_PER_DAY;
    if (left < 0)
        left += US_PER_DAY;
    civil_from_days (floor_divide (us, US_PER_DAY), &civil);
    civil.microsecond = (int32_t) (left % US_PER_SECOND);
    int32_t seconds = (int32_t) (left / US_PER_SECOND);
    civil.hour = seconds / 3600;
    civil.minute = seconds / 60 % 60;
    civil.second = seconds % 60;
    return civil;
}

int64_t civil_to_us (const civil_t *civil) {
    int64_t days = days_from_civil (civil->year, civil->month, civil->day);
    int64_t seconds = (int64_t) civil->hour * 3600 + (int64_t) civil->minute * 60 + civil->second;
    /* Unsigned, because the first day of the int64 range begins before the range does. */
    uint64_t us = (uint64_t) days * (uint64_t) US_PER_DAY + (uint64_t) (seconds * US_PER_SECOND);
    return (int64_t) (us + (uint64_t) (int64_t) civil->microsecond);
}

static char *put_pair (char *out, int32_t value) {
    memcpy (out, DIGIT_PAIRS + 2 * value, 2);
    return out + 2;
}

bool time_write_rfc3339 (char *out, int64_t us, uint32_t *size) {
    civil_t civil = civil_from_us (us);
    if (civil.year < 1 || civil.year > 9999)
        return false;
    char *p = put_pair (out, (int32_t) civil.year / 100);
    p = put_pair (p, (int32_t) civil.year % 100);
    *p++ = '-';
    p = put_pair (p, civil.month);
    *p++ = '-';
    p = put_pair (p, civil.day);
    *p++ = 'T';
    p = put_pair (p, civil.hour);
    *p++ = ':';
    p = put_pair (p, civil.minute);
    *p++ = ':';
    p = put_pair (p, civil.second);
    if (civil.microsecond) {
        *p++ = '.';
        p = put_pair (p, civil.microsecond / 10000);
        p = put_pair (p, civil.microsecond / 100 % 100);
        p = put_pair (p, civil.microsecond % 100);
    }
    *p++ = 'Z';
    *size = (uint32_t) (p - out);
    return true;
}

/* Exactly `count` digits at `p`, or -1. */
static int32_t read_digits (const char *p, uint32_t count) {
    int32_t value = 0;
    for (uint32_t i = 0; i < count; i++) {
        unsigned digit = (unsigned char) p[i] - (unsigned) '0';
        if (digit > 9)
            return -1;
        value = value * 10 + (int32_t) digit;
    }
    return value;
}

static int32_t days_in_month (int64_t year, int32_t month) {
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 ? 28 + is_leap : 30 + ((month + month / 8) & 1);
}

/* The date and the time of day, "2026-01-02T03:04:05": 19 bytes. */
static bool read_date_time (const char *p, civil_t *civil) {
    bool is_shaped = p[4] == '-' && p[7] == '-' && (p[10] == 'T' || p[10] == 't' || p[10] == ' ') &&
                     p[13] == ':' && p[16] == ':';
    civil->year = read_digits (p, 4);
    civil->month = read_digits (p + 5, 2);
    civil->day = read_digits (p + 8, 2);
    civil->hour = read_digits (p + 11, 2);
    civil->minute = read_digits (p + 14, 2);
    civil->second = read_digits (p + 17, 2);
    return is_shaped && civil->year >= 1 && civil->month >= 1 && civil->month <= 12 && civil->day >= 1 &&
           civil->day <= days_in_month (civil->year, civil->month) && civil->hour >= 0 && civil->hour <= 23 &&
           civil->minute >= 0 && civil->minute <= 59 && civil->second >= 0 && civil->second <= 60;
}

/* ".25": microseconds, digits beyond the sixth cut off. What follows, or NULL. */
static const char *read_fraction (const char *p, const char *end, civil_t *civil) {
    civil->microsecond = 0;
    if (p == end || *p != '.')
        return p;
    const char *first = ++p;
    int32_t scale = 100000;
    for (; p < end && (unsigned char) *p - (unsigned) '0' <= 9; p++) {
        civil->microsecond += (*p - '0') * scale;
        scale /= 10;
    }
    return p == first ? NULL : p;
}

/* "Z" or "+01:30", to the end of the text: minutes east of Greenwich. */
static bool read_offset (const char *p, const char *end, int32_t *minutes) {
    *minutes = 0;
    if (end - p == 1)
        return *p == 'Z' || *p == 'z';
    if (end - p != 6 || (*p != '+' && *p != '-') || p[3] != ':')
        return false;
    int32_t hour = read_digits (p + 1, 2), minute = read_digits (p + 4, 2);
    *minutes = (hour * 60 + minute) * (*p == '-' ? -1 : 1);
    return hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59;
}

bool time_read_rfc3339 (const char *p, uint32_t size, int64_t *us) {
    const char *end = p + size;
    civil_t civil;
    int32_t offset;
    if (size < 20 || !read_date_time (p, &civil))
        return false;
    p = read_fraction (p + 19, end, &civil);
    if (!p || !read_offset (p, end, &offset))
        return false;
    /* A leap second ends a day of UTC. Our time has none: it is the first second of the next day. */
    int32_t minute_utc = civil.hour * 60 + civil.minute - offset;
    if (civil.second == 60 && (minute_utc + MINUTES_PER_DAY) % MINUTES_PER_DAY != MINUTES_PER_DAY - 1)
        return false;
    *us = civil_to_us (&civil) - offset * 60 * US_PER_SECOND;
    return true;
}
