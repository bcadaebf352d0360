#include "config.h"

#include "lib/normalize.h"

#include <string.h>

#include "unit.h"

static void
is_normal(const char *text, const char *want)
{
	struct aic_buf b;

	aic_buf_init(&b, 4096);
	aic_normalize_question(&b, text);
	assert_false(b.failed);
	assert_int_equal(b.len, strlen(want));
	assert_memory_equal(b.len ? b.data : "", want, b.len);
	aic_buf_done(&b);
}

static void
case_blanks_and_punctuation_do_not_matter(void **state)
{
	static const char *const rows[][2] = {
		{ "как поднять продажи", "как поднять продажи" },
		{ "  Как\tПОДНЯТЬ \n продажи ?! ", "как поднять продажи" },
		{ "Как поднять продажи…", "как поднять продажи" },
		{ "Ещё\xc2\xa0раз", "еще раз" },
		{ "ЁЛКА ЙОД Яя АА", "елка йод яя аа" },
		{ "FBO или FBS?", "fbo или fbs" },
		{ "ЂЃЄ", "ђѓє" },
		{ "", "" },
		{ " ?. ! … ", "" },
		{ "😀 100%", "😀 100%" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_normal(rows[i][0], rows[i][1]);
}

static void
different_questions_stay_different(void **state)
{
	static const char *const rows[][2] = {
		{ "Цена 1.5, а не 15", "цена 1.5, а не 15" },
		{ "Что? Где?", "что? где" },
		{ "поднять, продажи", "поднять, продажи" },
		{ "поднять-продажи", "поднять-продажи" },
		{ "\"Продажи\"", "\"продажи\"" },
		{ "ÀÉ", "ÀÉ" }, /* other alphabets stay unchanged */
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		is_normal(rows[i][0], rows[i][1]);
}

static void
a_question_that_does_not_fit_is_reported(void **state)
{
	struct aic_buf b;

	(void)state;
	aic_buf_init(&b, 4);
	aic_normalize_question(&b, "длинный вопрос");
	assert_true(b.failed);
	aic_buf_done(&b);
}

UNIT_MAIN(T(case_blanks_and_punctuation_do_not_matter),
    T(different_questions_stay_different),
    T(a_question_that_does_not_fit_is_reported))
