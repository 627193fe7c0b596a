/*
 * stream_options.h
 *	  What a stream's options may be: checked when it is created and altered.
 *
 * Floor 2.
 */
#ifndef WEIR_STREAM_OPTIONS_H
#define WEIR_STREAM_OPTIONS_H

#include "postgres.h"

#include "utils/timestamp.h"

/* All raise 22023 (or what they say), naming the parameter. NULL values pass. */
extern void weir_option_check_word(const char *parameter, const char *value, const char *const *allowed);
extern void weir_option_check_duration(const char *parameter, const Interval *value, bool zero_allowed);
/* The name of a consumer group. */
extern void weir_option_check_group(const char *parameter, const char *value);

extern void weir_option_check_number(const char *parameter, int value, int least, int greatest);

/* The words that some options may be; NULL at the end. */
extern const char *const weir_formats[];
extern const char *const weir_key_formats[];
extern const char *const weir_time_units[];
extern const char *const weir_tombstone_words[];
extern const char *const weir_isolation_levels[];
extern const char *const weir_data_loss_words[];
extern const char *const weir_metadata_words[];

#endif							/* WEIR_STREAM_OPTIONS_H */
