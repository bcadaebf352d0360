// The page /docs: swagger-ui with the document of this service.
//
// A key that is typed in is kept in the session storage, so it is there after a
// reload of the page, and gone when the tab is closed. It is sent to this
// service only.

'use strict';

(() => {
	const prefix = 'ai-chat-key:';

	// The actions of swagger-ui's "Authorize" dialog.
	const keepKeys = () => ({
		statePlugins: {
			auth: {
				wrapActions: {
					authorize: (original) => (payload) => {
						for (const [name, { value }]
						    of Object.entries(payload))
							sessionStorage.setItem(
							    prefix + name,
							    value);
						return original(payload);
					},
					logout: (original) => (names) => {
						for (const name of names)
							sessionStorage
							    .removeItem(prefix
								+ name);
						return original(names);
					},
				},
			},
		},
	});

	const ui = SwaggerUIBundle({
		dom_id: '#api',
		url: 'openapi.json',
		// No badge from a server of somebody else.
		validatorUrl: null,
		deepLinking: true,
		tryItOutEnabled: true,
		defaultModelsExpandDepth: 0,
		displayRequestDuration: true,
		plugins: [ keepKeys ],
		onComplete: () => {
			for (const name of [ 'ApiKey', 'AdminKey' ]) {
				const key = sessionStorage.getItem(prefix
				    + name);
				if (key)
					ui.preauthorizeApiKey(name, key);
			}
		},
	});
})();
