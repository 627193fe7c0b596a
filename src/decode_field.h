/*
 * decode_field.h
 *	  The tree of fields that columns are filled from.
 *
 * Floor 2: part of the decoder.
 */
#ifndef WEIR_DECODE_FIELD_H
#define WEIR_DECODE_FIELD_H

#include "json_scan.h"

/*
 * A field that some column takes, or an object on the way to one.  The root
 * stands for the whole message.
 */
typedef struct WeirField
{
	const char *name;
	Size		len;
	bool		plain;			/* JSON may write the name as it is */
	bool		taken;			/* some column takes the whole value */

	struct WeirField **children;
	int			nchildren;
	struct WeirField **table;	/* hash table of the children, half empty */
	uint32		mask;			/* its size minus one */

	/*
	 * Which child came first in the last object here, and which sibling came
	 * after this field: messages tend to be alike.
	 */
	struct WeirField *first;
	struct WeirField *next;

	/* Where the current message has it. */
	uint64		message;		/* the last message that had it */
	uint64		visit;			/* differs each time it is met */
	WeirJsonValue value;
} WeirField;

extern WeirField *weir_field_create(const char *name);
extern WeirField *weir_field_child(WeirField *parent, const char *name);
extern void weir_field_finish(WeirField *root);
extern WeirField *weir_field_find(const WeirField *parent, const char *name, Size len);
extern void weir_field_forget(WeirField *field);

#endif							/* WEIR_DECODE_FIELD_H */
