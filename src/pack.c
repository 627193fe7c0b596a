/*
 * pack.c
 *	  Values as compact bytes, for stores that keep many of them in a row.
 *
 * Integers are written seven bits a byte, the lowest first, the sign in the
 * last bit of all; floats and other values of fixed length as they are in
 * memory.  The bytes of arrays, records, enums and the like hold OIDs, unless
 * everything in them is PostgreSQL's own: those are written as text.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "pack.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Do the bytes of this type's values mean the same in every cluster? */
static bool
is_portable(Oid type)
{
	Oid			element = get_element_type(type);

	if (OidIsValid(element))
		return is_portable(element);
	return type < FirstGenbkiObjectId && get_typtype(type) == TYPTYPE_BASE &&
		TypeCategory(type) != TYPCATEGORY_PSEUDOTYPE &&
		type != REGCLASSOID && type != REGPROCOID && type != REGPROCEDUREOID &&
		type != REGOPEROID && type != REGOPERATOROID && type != REGTYPEOID &&
		type != REGROLEOID && type != REGNAMESPACEOID && type != REGCONFIGOID &&
		type != REGDICTIONARYOID && type != REGCOLLATIONOID;
}

/* Do equal values of this type have equal bytes? */
bool
weir_pack_is_exact(Oid type, Oid collation)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case UUIDOID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case BYTEAOID:
			return true;
		case TEXTOID:
		case VARCHAROID:
			return !OidIsValid(collation) || get_collation_isdeterministic(collation);
		default:
			return false;
	}
}

/* Makes a packer for a type. */
void
weir_packer_init(WeirPacker *packer, Oid type)
{
	Oid			base = getBaseType(type);
	Oid			function;
	bool		varlena;

	get_typlenbyval(base, &packer->typlen, &packer->typbyval);
	if (!is_portable(base))
	{
		packer->form = WEIR_PACK_TEXT;
		getTypeOutputInfo(base, &function, &varlena);
		fmgr_info(function, &packer->output);
		getTypeInputInfo(base, &function, &packer->ioparam);
		fmgr_info(function, &packer->input);
	}
	else if (base == INT2OID || base == INT4OID || base == INT8OID ||
			 base == TIMESTAMPTZOID || base == TIMESTAMPOID || base == DATEOID)
		packer->form = WEIR_PACK_INT;
	else if (packer->typlen > 0)
		packer->form = WEIR_PACK_FIXED;
	else if (packer->typlen == -1)
		packer->form = WEIR_PACK_VARLENA;
	else
		elog(ERROR, "type %u has a length of %d", base, packer->typlen);
}

/* Appends a number; small ones take one byte. */
void
weir_pack_uint(uint64 value, StringInfo bytes)
{
	char		digits[10];
	int			n = 0;

	while (value >= 0x80)
	{
		digits[n++] = (char) (value | 0x80);
		value >>= 7;
	}
	digits[n++] = (char) value;
	appendBinaryStringInfo(bytes, digits, n);
}

/* The same for one that may be negative. */
void
weir_pack_int(int64 value, StringInfo bytes)
{
	weir_pack_uint(((uint64) value << 1) ^ (uint64) (value >> 63), bytes);
}

static void
raise_corrupted(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("packed values end too early")));
}

/* Reads a number back. */
uint64
weir_unpack_uint(WeirUnpack *bytes)
{
	uint64		value = 0;

	for (int shift = 0; shift < 64; shift += 7)
	{
		unsigned char digit;

		if (bytes->next >= bytes->end)
			raise_corrupted();
		digit = (unsigned char) *bytes->next++;
		value |= (uint64) (digit & 0x7f) << shift;
		if (digit < 0x80)
			return value;
	}
	raise_corrupted();
	return 0;
}

/* The same for one that may be negative. */
int64
weir_unpack_int(WeirUnpack *bytes)
{
	uint64		value = weir_unpack_uint(bytes);

	return (int64) (value >> 1) ^ -(int64) (value & 1);
}

/* Appends length and contents. */
void
weir_pack_bytes(const char *data, Size len, StringInfo bytes)
{
	weir_pack_uint(len, bytes);
	appendBinaryStringInfo(bytes, data, len);
}

/* Takes this many bytes off what is left. */
static const char *
take(WeirUnpack *bytes, Size len)
{
	const char *taken = bytes->next;

	if (len > (Size) (bytes->end - bytes->next))
		raise_corrupted();
	bytes->next += len;
	return taken;
}

/* Reads length and contents, without copying. */
WeirUnpack
weir_unpack_bytes(WeirUnpack *bytes)
{
	Size		len = weir_unpack_uint(bytes);
	const char *taken = take(bytes, len);

	return (WeirUnpack) {taken, taken + len};
}

/* Returns an integer by value of any width. */
static int64
int_of(const WeirPacker *packer, Datum value)
{
	switch (packer->typlen)
	{
		case 2:
			return DatumGetInt16(value);
		case 4:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

static Datum
datum_of(const WeirPacker *packer, int64 value)
{
	switch (packer->typlen)
	{
		case 2:
			return Int16GetDatum((int16) value);
		case 4:
			return Int32GetDatum((int32) value);
		default:
			return Int64GetDatum(value);
	}
}

/* Appends a value of fixed length as it is in memory. */
static void
pack_fixed(const WeirPacker *packer, Datum value, StringInfo bytes)
{
	if (!packer->typbyval)
		appendBinaryStringInfo(bytes, DatumGetPointer(value), packer->typlen);
	else
	{
		char		room[sizeof(Datum)];

		store_att_byval(room, value, packer->typlen);
		appendBinaryStringInfo(bytes, room, packer->typlen);
	}
}

/* Appends a value. */
void
weir_pack_value(const WeirPacker *packer, Datum value, StringInfo bytes)
{
	struct varlena *detoasted;
	char	   *text;

	switch (packer->form)
	{
		case WEIR_PACK_INT:
			weir_pack_int(int_of(packer, value), bytes);
			break;
		case WEIR_PACK_FIXED:
			pack_fixed(packer, value, bytes);
			break;
		case WEIR_PACK_VARLENA:
			detoasted = PG_DETOAST_DATUM_PACKED(value);
			weir_pack_bytes(VARDATA_ANY(detoasted), VARSIZE_ANY_EXHDR(detoasted), bytes);
			if ((Pointer) detoasted != DatumGetPointer(value))
				pfree(detoasted);
			break;
		case WEIR_PACK_TEXT:
			text = OutputFunctionCall((FmgrInfo *) &packer->output, value);
			weir_pack_bytes(text, strlen(text), bytes);
			pfree(text);
			break;
	}
}

/* Reads a value of fixed length, at whatever address it lies. */
static Datum
unpack_fixed(const WeirPacker *packer, WeirUnpack *bytes)
{
	const char *from = take(bytes, packer->typlen);
	char	   *copy;
	Datum		room = 0;

	if (packer->typbyval)
	{
		memcpy(&room, from, packer->typlen);
		return fetch_att(&room, true, packer->typlen);
	}
	copy = palloc(packer->typlen);
	memcpy(copy, from, packer->typlen);
	return PointerGetDatum(copy);
}

/* Reads a value back. */
Datum
weir_unpack_value(const WeirPacker *packer, WeirUnpack *bytes)
{
	WeirUnpack	contents;
	Size		len;
	Datum		value;
	char	   *text;

	if (packer->form == WEIR_PACK_INT)
		return datum_of(packer, weir_unpack_int(bytes));
	if (packer->form == WEIR_PACK_FIXED)
		return unpack_fixed(packer, bytes);

	contents = weir_unpack_bytes(bytes);
	len = contents.end - contents.next;
	if (packer->form == WEIR_PACK_VARLENA)
		return PointerGetDatum(cstring_to_text_with_len(contents.next, len));
	text = pnstrdup(contents.next, len);
	value = InputFunctionCall((FmgrInfo *) &packer->input, text, packer->ioparam, -1);
	pfree(text);
	return value;
}
